//! Looking after what is kept: the key, backups.

use std::path::Path;

use anyhow::Result;
use landbridge_store::{BackupSummary, KeyRotation, restore_backup, verify_backup};

use super::data::DataArgs;
use crate::output::print;

pub(super) async fn rotate_key(data: &DataArgs, rotation: &KeyRotation) -> Result<()> {
    let done = data.admin().await?.rotate_key(rotation).await?;
    print(&format!(
        "everything is encrypted with key {} now, {} records anew",
        done.key, done.resealed
    ));
    for key in done.unused {
        print(&format!(
            "key {key} in the key file is not used any more; --drop-old takes it out"
        ));
    }
    for file in done.dropped {
        print(&format!(
            "an old key is in {} now; delete it together with the last backup made with it",
            file.display()
        ));
    }
    Ok(())
}

pub(super) async fn backup(data: &DataArgs, output: &Path) -> Result<()> {
    let made = data.admin().await?.backup(output).await?;
    print(&format!("{} has {}", output.display(), told(&made)));
    Ok(())
}

pub(super) async fn verify(data: &DataArgs, file: &Path) -> Result<()> {
    let found = verify_backup(&data.config().await?, file).await?;
    print(&format!(
        "{} is whole and opens with the key: {}",
        file.display(),
        told(&found)
    ));
    Ok(())
}

pub(super) async fn restore(data: &DataArgs, file: &Path) -> Result<()> {
    let restored = restore_backup(&data.config().await?, file).await?;
    print(&format!("restored {}", told(&restored)));
    Ok(())
}

fn told(summary: &BackupSummary) -> String {
    let counts: Vec<_> = summary
        .counts
        .iter()
        .map(|(table, count)| format!("{count} {}", table.replace('_', " ")))
        .collect();
    counts.join(", ")
}
