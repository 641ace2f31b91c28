//! Prints `devnet.blocks` and `devnet.state`, as `cargo xtask bench devnet` measures them.
#![allow(clippy::print_stdout)]

use tandem_devnet::bench;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let blocks = bench::blocks(15)?;
    println!(
        "devnet.blocks {:.2} (goal ≥ 0.5): {:.1} ms a block, {:.1} ms without roots",
        blocks.speed(),
        blocks.value * 1e3,
        blocks.peer * 1e3
    );
    let state = bench::state(15)?;
    println!(
        "devnet.state {:.2} (goal ≤ 2): {:.1} ms over 10⁶ accounts, {:.1} ms over 10³",
        state.slowdown(),
        state.value * 1e3,
        state.peer * 1e3
    );
    Ok(())
}
