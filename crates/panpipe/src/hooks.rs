//! What a server has every call pass: its rules, then its layers.

use crate::layer::Stack;
use crate::rules::Rules;

/// What stands between a session and the handlers. A session without any has none of
/// these.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) rules: Rules,
    pub(crate) layers: Option<Stack>,
}
