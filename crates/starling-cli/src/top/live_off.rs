//! Without the feature `tui` there is no live view, only snapshots.

use super::source::Source;

/// Whether this program has it.
pub const IS_THERE: bool = false;

/// Never called: see [`IS_THERE`].
pub async fn run(_: Source) -> anyhow::Result<()> {
    anyhow::bail!("this program was built without the feature `tui`")
}
