//! `ferrite volumes`.

use ferrite_schema::api::Volume;

use crate::cli::VolumesCommand;
use crate::failure::Failure;
use crate::output::{bytes, columns};
use crate::session::Session;

pub(super) fn run(
    command: Option<VolumesCommand>,
    session: &mut Session<'_>,
) -> Result<(), Failure> {
    let client = session.client()?;
    match command.unwrap_or(VolumesCommand::List) {
        VolumesCommand::List => {
            let volumes = session.wait_for(async { Ok(client.volumes().await?) })?;
            session.show(&volumes, |volumes| table(volumes))
        }
        VolumesCommand::Remove { name } => {
            let removed = session.wait_for(async { Ok(client.remove_volume(&name).await?) })?;
            session.show(&removed, |volume| {
                format!("removed {}, {} freed", volume.name, bytes(volume.size_bytes))
            })
        }
    }
}

fn table(volumes: &[Volume]) -> String {
    if volumes.is_empty() {
        return "no volumes: a unit that names one has it made at its first start".to_owned();
    }
    let row = |volume: &Volume| {
        let (size, files) = (bytes(volume.size_bytes), volume.files.to_string());
        [volume.name.clone(), size, files, volume.units.join(",")]
    };
    let rows: Vec<[String; 4]> = volumes.iter().map(row).collect();
    columns(["NAME", "SIZE", "FILES", "UNITS"], &rows)
}
