//! A floor above the keeper that does not open: what was promised before is kept all the same, and then the process
//! says why it did not start.

use crate::world::{Plan, VALIDATORS, World, until};
use std::{net::TcpListener, path::PathBuf, process::Stdio, time::Duration};
use tokio::process::{Child, Command};

/// Longer than a start takes, beside an L1 and its host.
const SLOT_MS: u64 = 3_000;

/// The first host's program, started once more by the test itself, which wants to know how it ends.
struct Again {
    program: Child,
    log: PathBuf,
}

impl Again {
    fn start(world: &World, log: &str) -> Self {
        let dir = &world.hosts[0].dir;
        let log = dir.join(log);
        let mut command = Command::new(env!("CARGO_BIN_EXE_tandem"));
        command.args(["run", "--config"]).arg(dir.join("tandem.toml")).current_dir(dir).env("RUST_BACKTRACE", "0");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(std::fs::File::create(&log).unwrap());
        Self { program: command.kill_on_drop(true).spawn().unwrap(), log }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    async fn until_it_stays(&mut self, slot: u64) {
        let words = format!("slots=\"{slot}\" promises=1");
        until("it to stay", async || {
            let said = self.said();
            (said.contains("CRITICAL") && said.contains(&words)).then_some(())
        })
        .await;
        assert!(self.program.try_wait().unwrap().is_none(), "{}", self.said());
    }

    fn term(&self) {
        let pid = rustix::process::Pid::from_raw(self.program.id().unwrap() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    /// Waits for its end, which is a failure, with these in its last words.
    async fn fails(mut self, words: &str) -> String {
        let ended = tokio::time::timeout(Duration::from_secs(60), self.program.wait()).await;
        let said = self.said();
        let ended = ended.unwrap_or_else(|_| panic!("it does not end\n{said}"));
        assert_eq!(ended.unwrap().code(), Some(1), "{said}");
        let last = said.lines().last().unwrap_or_default();
        assert!(last.starts_with("tandem: ") && last.contains(words), "{said}");
        said
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_whose_gateway_or_books_do_not_open_keeps_what_it_owes_before_it_fails() {
    let mut world = World::start(SLOT_MS, vec![Plan::new("host", 0..VALIDATORS, "prysm")]).await;
    let slot = world.open_slot(0, 4).await;
    let held = world.promise(0, 1, 0, slot).await;
    world.hosts[0].kill().unwrap();
    let address = world.hosts[0].gateway.strip_prefix("http://").unwrap().to_owned();
    let taken = TcpListener::bind(&address).unwrap();

    let mut again = Again::start(&world, "gateway.log");
    again.until_it_stays(slot).await;
    let said = again.fails(&address).await;
    assert!(said.contains("no promise is open") && world.rig.slot_now() >= slot, "{said}");
    // Nobody but a host that keeps it knows the transaction before the slot.
    world.block_of(slot).await;
    assert_eq!(world.slot_of(held.hash).await, Some(slot), "{said}");

    // The control: nothing is owed, and it fails at once.
    let said = Again::start(&world, "control.log").fails(&address).await;
    assert!(!said.contains("CRITICAL") && !said.contains("stays"), "{said}");
    drop(taken);

    // With books that can not be read it is the same, and a signal ends the staying, as it ends all else.
    world.hosts[0].start().unwrap();
    world.hosts[0].ready(Duration::from_secs(60)).await.unwrap();
    let far = until("a slot far off to be open", async || world.open_slots(0, 12).await.last().copied()).await;
    world.promise(0, 2, 0, far).await;
    world.hosts[0].kill().unwrap();
    std::fs::write(world.hosts[0].dir.join("data/ledger.redb"), [7; 9_000]).unwrap();
    let mut again = Again::start(&world, "books.log");
    again.until_it_stays(far).await;
    again.term();
    let said = again.fails("ledger").await;
    assert!(said.contains("stopped with open promises") && world.rig.slot_now() < far, "{said}");
    world.stop().await;
}
