//! Writes docs/identity_region.h from the layout table: `cargo run -p panel-ledger --example
//! write-identity-header`. A test fails when the committed file is not the one written here.

fn main() -> std::io::Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/identity_region.h");
    std::fs::write(path, panel_ledger::region::c_header())
}
