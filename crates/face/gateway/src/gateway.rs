//! The gateway put together: its state, its routes, and the guard before them.

use crate::{
    Backend, Config, ConfigError, Events, Metrics, Running, ServeError, api,
    caller::{Caller, Callers, Peer, is_our_host},
    error::GatewayError,
    faults::{self, Dialect},
    page,
    rates::Buckets,
    rest, rpc, serve, sse, weigh,
};
use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
    routing::{get, post},
};
use http::{HeaderName, HeaderValue, Method, header};
use parking_lot::RwLock;
use prometheus_client::registry::Registry;
use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// What all requests share. Nothing in it is locked across an await.
pub(crate) struct Shared {
    pub config: Config,
    pub backend: Arc<dyn Backend>,
    pub events: Events,
    pub metrics: Arc<Metrics>,
    pub registry: Arc<RwLock<Registry>>,
    pub callers: Callers,
    pub buckets: Buckets,
    pub node_methods: HashSet<String>,
    /// Requests under way.
    pub requests: Semaphore,
    /// Requests to the node under way.
    pub node: Semaphore,
    /// KiB of bodies under way.
    pub bodies: Arc<Semaphore>,
    /// KiB of answers under way.
    pub answers: Arc<Semaphore>,
    /// Listeners at `/events`.
    pub listeners: sse::Places,
    pub stop: CancellationToken,
}

/// Unix milliseconds.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Shared {
    /// Takes `n` requests out of a caller's rate.
    pub(crate) fn charge(&self, caller: &Caller, n: u32) -> Result<(), GatewayError> {
        let Some(rate) = caller.rate else { return Ok(()) };
        let wait = self.buckets.take(caller.key, rate, n, Instant::now());
        wait.map_err(|w| GatewayError::RateLimited { retry_ms: w.as_millis().max(1) as u64 })
    }
}

/// The gateway, ready to listen.
pub struct Gateway {
    shared: Arc<Shared>,
}

impl Gateway {
    /// Checks the configuration and reads its secrets. `registry` holds everything that `/metrics`
    /// shows: register [`Metrics`] in it, and what other parts count.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn new(
        config: Config,
        backend: Arc<dyn Backend>,
        events: Events,
        metrics: Arc<Metrics>,
        registry: Arc<RwLock<Registry>>,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
        let limits = &config.limits;
        let shared = Shared {
            callers: Callers::new(&config)?,
            buckets: Buckets::new(config.rates.callers),
            node_methods: config.node_methods.iter().cloned().collect(),
            requests: Semaphore::new(limits.requests.min(Semaphore::MAX_PERMITS)),
            node: Semaphore::new(limits.node_requests.min(Semaphore::MAX_PERMITS)),
            bodies: Arc::new(Semaphore::new((limits.bodies_bytes / 1024).min(Semaphore::MAX_PERMITS))),
            answers: Arc::new(Semaphore::new((limits.answers_bytes / 1024).min(Semaphore::MAX_PERMITS))),
            listeners: sse::Places::new(limits.listeners),
            stop: CancellationToken::new(),
            config,
            backend,
            events,
            metrics,
            registry,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Listens. It runs on the current runtime until the answer is stopped or dropped.
    ///
    /// # Errors
    /// [`ServeError`] if the address can not be had.
    pub async fn serve(&self) -> Result<Running, ServeError> {
        serve::serve(self.shared.clone(), self.router()).await
    }

    fn router(&self) -> Router {
        let shared = self.shared.clone();
        let counted = Router::new()
            .route("/", post(rpc::post).get(page::index))
            .nest("/commitments/v0/gateway", rest::routes())
            .nest("/api/v1", api::routes())
            .route("/events", get(sse::events))
            .route("/app.css", get(page::style))
            .route("/js/{name}", get(page::script))
            .route("/icon.svg", get(page::icon))
            .route("/healthz", get(api::healthz))
            .route("/readyz", get(api::readyz))
            .route("/metrics", get(api::metrics))
            .fallback(|| async { GatewayError::NotFound })
            .method_not_allowed_fallback(|| async { GatewayError::MethodNotAllowed })
            .layer(middleware::from_fn_with_state(shared.clone(), guard))
            .with_state(shared.clone());
        match cors(&shared.config.cors_origins) {
            Some(layer) => counted.layer(layer),
            None => counted,
        }
    }
}

/// Cross-origin reading and asking for the configured origins. `Authorization` is not allowed to
/// them, so that no page of another origin ever gives an order.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|o| o.parse().ok()).collect();
    (!origins.is_empty()).then(|| {
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins))
            .allow_methods([Method::GET, Method::POST])
            .allow_headers([header::CONTENT_TYPE, HeaderName::from_static("x-api-key")])
    })
}

/// Before everything: the host name, the caller, its rate, and a place among the requests.
async fn guard(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let dialect = Dialect::of(&request);
    let answered = match admit(&shared, &request) {
        Ok((caller, place)) => {
            request.extensions_mut().insert(caller);
            let response = faults::caught(next.run(request)).await.map(|r| faults::shaped(r, dialect));
            match place {
                Some(_) => response.and_then(|r| weigh::response(&shared, r)),
                None => response,
            }
        }
        Err(error) => Err(error),
    };
    with_safe_headers(answered.unwrap_or_else(|error| {
        shared.metrics.errors.get_or_create(&error.reason().into()).inc();
        dialect.refuse(&error)
    }))
}

fn admit<'s>(
    shared: &'s Shared,
    request: &Request,
) -> Result<(Caller, Option<tokio::sync::SemaphorePermit<'s>>), GatewayError> {
    if !is_our_host(request.headers(), request.uri().authority(), &shared.config.hosts) {
        return Err(GatewayError::ForeignHost);
    }
    let peer = request.extensions().get::<Peer>().ok_or(GatewayError::Unauthorized)?.0;
    let path = request.uri().path();
    let identified = shared.callers.identify(peer, request.headers());
    if let Err(error) = identified {
        // Guessing tokens is as slow as asking anything else.
        let stranger = Caller {
            name: "stranger".into(),
            key: crate::rates::CallerKey::of(peer.ip()),
            rate: shared.callers.rate_of(peer.ip().to_canonical()),
            admin: false,
        };
        shared.charge(&stranger, 1)?;
        return Err(error);
    }
    let caller = identified?;
    // An operator must see how it is when everything else is full: beside strangers whom a proxy on this machine
    // passes on, too. From anywhere else one's rate is one's own.
    let is_view = matches!(path, "/healthz" | "/readyz" | "/metrics" | "/api/v1/status" | "/api/v1/modules");
    let is_free = is_view && request.method().is_safe() && peer.ip().to_canonical().is_loopback();
    if !is_free {
        // Before a byte of the body is read: what is no request in the end costs as much as one. The others of a
        // batch are charged when they are known.
        shared.charge(&caller, 1)?;
    }
    let always = matches!(path, "/healthz" | "/readyz" | "/metrics" | "/events");
    let place = if always { None } else { Some(shared.requests.try_acquire().map_err(|_| GatewayError::Busy)?) };
    Ok((caller, place))
}

fn with_safe_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}
