//! `devnet.*`: blocks of the simulated execution layer, in this process.

use super::{
    figure::{Against, Row},
    setup::Settings,
};
use tandem_devnet::bench::{Figure, blocks, state};

/// Blocks of each kind.
const SAMPLES: usize = 21;

/// Measures both figures; one that fails is left out, with its error printed.
pub fn measure(settings: &Settings) -> Vec<Row> {
    let samples = if settings.smoke { 5 } else { SAMPLES };
    let at = |name, f: &Figure, ratio: f64| (f.value * 1e3, Against { name, value: f.peer * 1e3 }, ratio);
    let mut rows = Vec::new();
    match tokio::task::block_in_place(|| blocks(samples)) {
        Ok(f) => {
            let values = at("decode, recover, execute over hash maps, no roots, one thread: ms", &f, f.speed());
            rows.extend(Row::ratio("devnet.blocks", values, f.samples, "medians of blocks of 500 transfers"));
        }
        Err(e) => println!("devnet.blocks: {e}"),
    }
    match tokio::task::block_in_place(|| state(samples)) {
        Ok(f) => {
            let values = at("over a thousand accounts: ms", &f, f.slowdown());
            rows.extend(Row::ratio("devnet.state", values, f.samples, "medians of blocks of 500 transfers"));
        }
        Err(e) => println!("devnet.state: {e}"),
    }
    rows
}
