//! `pack-firmware FRONT.elf PROGRAM.elf OUT.elf`: a program that runs in RAM, packed behind its front. Called by the
//! firmware's build script; says on standard output what became of the bytes.

use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [front, program, out] = arguments.as_slice() else {
        let _ = writeln!(std::io::stderr(), "usage: pack-firmware FRONT.elf PROGRAM.elf OUT.elf");
        return ExitCode::from(2);
    };
    let work = || -> Result<String, Box<dyn std::error::Error>> {
        let image = panel_packed::pack::pack(&std::fs::read(front)?, &std::fs::read(program)?)?;
        std::fs::write(out, image.elf())?;
        let (from, to) = (image.unpacked, image.bytes.len());
        Ok(format!("{from} bytes packed into {to}, {} of them the front", image.front))
    };
    match work() {
        Ok(said) => {
            let _ = writeln!(std::io::stdout(), "{}: {said}", out.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{}: {error}", program.display());
            ExitCode::FAILURE
        }
    }
}
