//! Who may call what: rules that every call passes before its arguments are read.

use std::fmt;
use std::sync::Arc;

use crate::call_info::CallInfo;
use crate::error::{Refusal, RefusalReason};
use crate::guarded::caught;
use crate::log_limit::log_limited;

type Rule = dyn Fn(&CallInfo) -> Result<(), String> + Send + Sync;

/// All of them have to allow a call.
#[derive(Clone, Default)]
pub(crate) struct Rules {
    rules: Vec<Arc<Rule>>,
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rules", self.rules.len())
    }
}

impl Rules {
    pub(crate) fn add<W: Into<String>>(
        &mut self,
        rule: impl Fn(&CallInfo) -> Result<(), W> + Send + Sync + 'static,
    ) {
        self.rules.push(Arc::new(move |call| rule(call).map_err(Into::into)));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Asks each rule, in the order in which they were given. One that panics denies.
    pub(crate) fn allow(&self, call: &CallInfo) -> Result<(), Refusal> {
        self.rules.iter().try_for_each(|rule| {
            let said = caught(|| rule(call));
            said.unwrap_or_else(|_| {
                log_limited!(error, method = call.name(), peer = %call.peer(), "a rule of who may call has panicked: the call is denied");
                Err("the rule that says who may call this has panicked; the server's own log says where".to_owned())
            })
            .map_err(|message| Refusal { reason: RefusalReason::NotAllowed, message })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::CallContext;

    #[test]
    fn every_rule_has_to_allow_and_the_first_that_does_not_has_the_word() {
        let call = CallInfo::new(CallContext { method: "Store.put", ..CallContext::unknown() });
        let mut rules = Rules::default();
        rules.add(|_| Ok::<_, String>(()));
        assert_eq!(rules.allow(&call), Ok(()));
        rules.add(|call| if call.method() == "put" { Err("nobody puts") } else { Ok(()) });
        rules.add(|_| -> Result<(), String> { unreachable!("the one before has denied") });
        assert_eq!(rules.allow(&call).unwrap_err().message, "nobody puts");
    }

    #[test]
    fn a_rule_that_panics_denies() {
        let mut rules = Rules::default();
        rules.add(|_| -> Result<(), String> { panic!("as it was asked to") });
        let refusal = rules.allow(&CallInfo::new(CallContext::unknown())).unwrap_err();
        assert_eq!(refusal.reason, RefusalReason::NotAllowed);
        assert!(refusal.message.contains("panicked"), "{refusal}");
    }
}
