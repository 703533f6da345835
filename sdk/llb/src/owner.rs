//! Owners of files, by name or number.

use kiln_pb::pb;

/// A user and a group. What is absent stays what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub user: Option<OwnerId>,
    /// The group.
    pub group: Option<OwnerId>,
}

/// A user or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OwnerId {
    /// Looked up in the passwd and group files of the tree that is changed.
    Name(String),
    /// The number itself.
    Id(u32),
}

impl Owner {
    /// Reads `user[:group]`: numbers are ids, `root` and an empty part are 0, the rest are names.
    pub fn parse(text: &str) -> Self {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        Self { user: Some(OwnerId::parse(user)), group: group.map(OwnerId::parse) }
    }

    /// An owner by numbers.
    pub fn ids(user: u32, group: u32) -> Self {
        Self { user: Some(OwnerId::Id(user)), group: Some(OwnerId::Id(group)) }
    }

    /// The wire form; names are looked up in the tree that is input `base` of the op.
    pub(crate) fn lower(&self, base: i64) -> pb::ChownOpt {
        let lower = |id: &Option<OwnerId>| id.as_ref().map(|id| id.lower(base));
        pb::ChownOpt { user: lower(&self.user), group: lower(&self.group) }
    }
}

impl OwnerId {
    fn parse(text: &str) -> Self {
        if matches!(text, "" | "root") {
            return Self::Id(0);
        }
        // The peer reads signed numbers, so anything above i32::MAX is a name.
        match text.parse::<i32>() {
            Ok(id) => Self::Id(id.cast_unsigned()),
            Err(_) => Self::Name(text.into()),
        }
    }

    fn lower(&self, base: i64) -> pb::UserOpt {
        let user = match self {
            Self::Name(name) if name.is_empty() => pb::user_opt::User::ById(0),
            Self::Name(name) => {
                pb::user_opt::User::ByName(pb::NamedUserOpt { name: name.clone(), input: base })
            }
            Self::Id(id) => pb::user_opt::User::ById(*id),
        };
        pb::UserOpt { user: Some(user) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ids_and_the_rest_are_names() {
        let name = |name: &str| Some(OwnerId::Name(name.into()));
        let id = |id| Some(OwnerId::Id(id));
        for (text, user, group) in [
            ("1000", id(1000), None),
            ("root:root", id(0), id(0)),
            (":5", id(0), id(5)),
            ("bob:", name("bob"), id(0)),
            ("4294967295", name("4294967295"), None),
        ] {
            assert_eq!(Owner::parse(text), Owner { user, group }, "{text}");
        }
    }
}
