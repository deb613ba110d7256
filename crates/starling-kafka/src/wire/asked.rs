//! What nodes ask each other.

use starling_core::{AppId, Query};

use super::fields;

/// A question to the other nodes.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    pub app: AppId,
    pub query: Query,
}

fields! { Asked { app, query } }

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Wire;

    #[test]
    fn questions_come_back_as_they_were() {
        let asked = Asked { app: AppId::from("1"), query: Query::Stats };
        assert_eq!(Asked::decode(&asked.encode()), Ok(asked));
    }
}
