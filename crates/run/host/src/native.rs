//! The native kind: a module in an OS thread of its own, on a current-thread runtime.
//!
//! The thread is what contains a hang: nobody waits for it longer than a deadline, and when it does
//! not come back it is left behind, with its ports dead.

use crate::{
    gates::Pass,
    health::Counters,
    instance::{Instance, Kind, Life, Stop},
    tx::TxBuf,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
    task::{self, Poll},
    time::{Duration, Instant},
};
use tandem_module::{Context, Delivery, Limits, Manifest, Module, ModuleTx, Refusal, Reply, Request};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Makes a module from its configuration (JSON text), or says what is wrong with that.
pub type Factory = Arc<dyn Fn(&[u8]) -> Result<Arc<dyn Module>, String> + Send + Sync>;

/// The native kind of one built-in module.
pub struct NativeKind(Factory);

impl NativeKind {
    /// Of modules that this makes.
    pub fn new(factory: Factory) -> Self {
        Self(factory)
    }
}

#[async_trait]
impl Kind for NativeKind {
    /// Makes the module once, in a thread that may hang.
    async fn manifest(&self, config: Bytes, within: Duration) -> Result<Manifest, String> {
        let (send, receive) = oneshot::channel();
        let factory = self.0.clone();
        let body = move || {
            let manifest = make(&factory, &config).and_then(|m| {
                let asked = catch_unwind(AssertUnwindSafe(|| m.manifest()));
                asked.map_err(|p| format!("it panicked at its manifest: {}", words(p.as_ref())))
            });
            let _ = send.send(manifest);
        };
        std::thread::Builder::new().name("module-probe".into()).spawn(body).map_err(|e| format!("no thread: {e}"))?;
        match tokio::time::timeout(within, receive).await {
            Ok(Ok(manifest)) => manifest,
            Ok(Err(_)) => Err("its thread ended while it was made".into()),
            Err(_) => Err(format!("it was not made within {} ms", within.as_millis())),
        }
    }
    async fn start(&self, life: Life) -> Result<Box<dyn Instance>, String> {
        Ok(Box::new(Native::start(self.0.clone(), life).await?))
    }
}

/// How often a thread shows that it is there.
const BEAT: Duration = Duration::from_millis(20);

enum Job {
    Events(Vec<Delivery>, TxBuf, oneshot::Sender<Result<TxBuf, Stop>>),
    /// The place is given back when the module is done, also if nobody waits for it any more.
    Request(Request, oneshot::Sender<Result<Reply, Stop>>, OwnedSemaphorePermit),
}

struct Pulse {
    born: Instant,
    /// Milliseconds after `born` at which the thread was last seen.
    seen: AtomicU64,
    events: AtomicU64,
    /// Requests in a row that came to their limit.
    unanswered: AtomicU32,
    /// [`RUNNING`], [`LEFT`] or [`ENDED`].
    thread: AtomicU8,
    pass: Arc<Pass>,
    /// Asks the thread to end, once it gives itself back.
    quit: Notify,
    /// It has ended, and holds nothing any more.
    done: Notify,
}

/// The thread works.
const RUNNING: u8 = 0;
/// The thread was left behind.
const LEFT: u8 = 1;
/// The thread has ended.
const ENDED: u8 = 2;

impl Pulse {
    fn leave(&self) {
        self.pass.end();
        if self.thread.compare_exchange(RUNNING, LEFT, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            Counters::add(&self.pass.counters.stuck_threads);
        }
    }
    fn beat(&self) {
        self.seen.store(self.born.elapsed().as_millis() as u64, Ordering::Relaxed);
    }
}

/// A running native module.
pub struct Native {
    jobs: mpsc::Sender<Job>,
    /// Requests at once.
    places: Arc<Semaphore>,
    pulse: Arc<Pulse>,
}

impl Drop for Native {
    fn drop(&mut self) {
        self.pulse.pass.end();
        self.pulse.quit.notify_one();
    }
}

/// Notes the thread's end: one that was left behind is stuck no more.
struct AtEnd(Arc<Pulse>);
impl Drop for AtEnd {
    fn drop(&mut self) {
        if self.0.thread.swap(ENDED, Ordering::AcqRel) == LEFT {
            Counters::sub(&self.0.pass.counters.stuck_threads);
        }
        self.0.done.notify_one();
    }
}

/// The words of a panic.
fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".into())
}

/// Makes a module, catching its panics.
fn make(factory: &Factory, config: &[u8]) -> Result<Arc<dyn Module>, String> {
    match catch_unwind(AssertUnwindSafe(|| factory(config))) {
        Ok(made) => made,
        Err(panic) => Err(format!("it panicked while it was made: {}", words(panic.as_ref()))),
    }
}

impl Native {
    /// Starts a thread that makes the module and serves it. Gives up when its time is over.
    ///
    /// # Errors
    /// A sentence: the thread could not be started, the module refused its configuration, panicked, or
    /// took too long.
    async fn start(factory: Factory, life: Life) -> Result<Self, String> {
        let Life { context, limits, pass, within } = life;
        // As many jobs as requests at once, and one for events: more are turned away, not queued.
        let at_once = limits.concurrent_requests as usize;
        let (jobs, queue) = mpsc::channel(at_once + 1);
        let places = Arc::new(Semaphore::new(at_once));
        let (ready, made) = oneshot::channel();
        let pulse = Arc::new(Pulse {
            born: Instant::now(),
            seen: AtomicU64::new(0),
            events: AtomicU64::new(0),
            unanswered: AtomicU32::new(0),
            thread: AtomicU8::new(RUNNING),
            pass,
            quit: Notify::new(),
            done: Notify::new(),
        });
        let (inner, name) = (pulse.clone(), format!("module-{}", context.module));
        let body = move || {
            let _end = AtEnd(inner.clone());
            let module = match make(&factory, &context.config) {
                Ok(m) => m,
                Err(e) => return drop(ready.send(Err(e))),
            };
            match tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build() {
                Ok(runtime) => {
                    let _ = ready.send(Ok(()));
                    runtime.block_on(serve(module, context, limits, inner, queue));
                    // A blocking call that hangs must not keep the thread.
                    runtime.shutdown_background();
                }
                Err(e) => drop(ready.send(Err(e.to_string()))),
            }
        };
        std::thread::Builder::new().name(name).spawn(body).map_err(|e| format!("no thread: {e}"))?;
        match tokio::time::timeout(within, made).await {
            Ok(Ok(Ok(()))) => Ok(Self { jobs, places, pulse }),
            Ok(Ok(Err(e))) => Err(e),
            Ok(Err(_)) => Err("its thread ended while it was made".into()),
            Err(_) => {
                pulse.leave();
                Err(format!("it was not made within {} ms", within.as_millis()))
            }
        }
    }
}

async fn serve(
    module: Arc<dyn Module>,
    context: Context,
    limits: Limits,
    pulse: Arc<Pulse>,
    mut queue: mpsc::Receiver<Job>,
) {
    let context = Arc::new(context);
    let beating = pulse.clone();
    tokio::spawn(async move {
        loop {
            beating.beat();
            tokio::time::sleep(BEAT).await;
        }
    });
    loop {
        let job = tokio::select! {
            () = pulse.quit.notified() => return,
            Some(job) = queue.recv() => job,
            else => return,
        };
        let (module, context, pulse) = (module.clone(), context.clone(), pulse.clone());
        match job {
            Job::Events(batch, tx, reply) => drop(tokio::spawn(async move {
                let _ = reply.send(events(module.as_ref(), &context, &pulse, batch, tx).await);
            })),
            Job::Request(request, reply, place) => {
                let limit = Duration::from_millis(limits.request_ms);
                drop(tokio::spawn(async move {
                    let answer = ask(&pulse, limit, module.request(&context, request)).await;
                    // Before the answer: who has it may ask the next at once.
                    drop(place);
                    let _ = reply.send(answer);
                }));
            }
        }
    }
}

/// One request's answer within its limit, counted as answered or not.
async fn ask(
    pulse: &Pulse,
    limit: Duration,
    request: impl Future<Output = Result<Reply, Refusal>>,
) -> Result<Reply, Stop> {
    let mut call = pin!(caught(pulse, request));
    match tokio::time::timeout(limit, call.as_mut()).await {
        Ok(Ok(answer)) => {
            pulse.unanswered.store(0, Ordering::Relaxed);
            answer.map_err(Stop::Refused)
        }
        Ok(Err(panic)) => Err(Stop::Panic(panic)),
        Err(_) => {
            // Looked at while the call is not dropped yet, and with it what it waits for.
            if !pulse.pass.waits_for_the_house() {
                pulse.unanswered.fetch_add(1, Ordering::Relaxed);
            }
            Err(Stop::Late)
        }
    }
}

async fn events(
    module: &dyn Module,
    cx: &Context,
    pulse: &Pulse,
    batch: Vec<Delivery>,
    mut tx: TxBuf,
) -> Result<TxBuf, Stop> {
    for (at, delivery) in batch.into_iter().enumerate() {
        let write: &mut dyn ModuleTx = &mut tx;
        match caught(pulse, module.event(cx, delivery, write)).await {
            Ok(Ok(())) => drop(pulse.events.fetch_add(1, Ordering::Relaxed)),
            Ok(Err(fault)) => return Err(Stop::Fault { at, fault }),
            Err(panic) => return Err(Stop::Panic(panic)),
        }
    }
    Ok(tx)
}

/// Runs a module's future: catches its panics, also at drop, and counts its time on the thread.
async fn caught<F: Future>(pulse: &Pulse, future: F) -> Result<F::Output, String> {
    let metered = Metered { inner: Box::pin(future), pulse };
    AssertUnwindSafe(metered).catch_unwind().await.map_err(|p| words(p.as_ref()))
}

struct Metered<'a, F> {
    inner: Pin<Box<F>>,
    pulse: &'a Pulse,
}

impl<F: Future> Future for Metered<'_, F> {
    type Output = F::Output;
    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let from = Instant::now();
        self.pulse.beat();
        let polled = self.inner.as_mut().poll(cx);
        let used = from.elapsed().as_micros() as u64;
        self.pulse.pass.counters.busy_us.fetch_add(used, Ordering::Relaxed);
        polled
    }
}

#[async_trait]
impl Instance for Native {
    async fn events(&self, batch: Vec<Delivery>, tx: TxBuf) -> Result<TxBuf, Stop> {
        let (reply, answer) = oneshot::channel();
        self.jobs.send(Job::Events(batch, tx, reply)).await.map_err(|_| Stop::Gone)?;
        answer.await.unwrap_or(Err(Stop::Gone))
    }
    async fn request(&self, request: Request) -> Result<Reply, Stop> {
        let (reply, answer) = oneshot::channel();
        let place = self.places.clone().try_acquire_owned().map_err(|_| Stop::Full)?;
        self.jobs.try_send(Job::Request(request, reply, place)).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => Stop::Full,
            mpsc::error::TrySendError::Closed(_) => Stop::Gone,
        })?;
        answer.await.unwrap_or(Err(Stop::Gone))
    }
    fn progress(&self) -> u64 {
        self.pulse.events.load(Ordering::Relaxed)
    }
    fn unanswered(&self) -> u32 {
        self.pulse.unanswered.load(Ordering::Relaxed)
    }
    fn silent_ms(&self) -> u64 {
        (self.pulse.born.elapsed().as_millis() as u64).saturating_sub(self.pulse.seen.load(Ordering::Relaxed))
    }
    fn abandon(&self) {
        self.pulse.leave();
    }
    async fn end(&self) {
        self.pulse.pass.end();
        self.pulse.quit.notify_one();
        self.pulse.done.notified().await;
    }
}
