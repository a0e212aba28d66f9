//! `alignatt devices`: lists the devices that models can run on.

use std::io::{self, Write};

use super::engines::{self, DeviceLine};
use super::error::CliError;

pub(super) async fn devices() -> Result<(), CliError> {
    let devices = engines::devices().await;
    write(&devices, &mut io::stdout().lock()).map_err(CliError::print_failed)
}

fn write(devices: &[DeviceLine], out: &mut dyn Write) -> io::Result<()> {
    for device in devices {
        writeln!(out, "{:<12} {}", device.choice, device.name)?;
        for (key, value) in &device.details {
            writeln!(out, "{:12} {key}: {value}", "")?;
        }
        writeln!(out, "{:12} self-test: {}", "", device.self_test)?;
    }
    out.flush()
}
