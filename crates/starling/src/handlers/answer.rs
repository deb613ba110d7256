//! What handlers answer.

use std::any::TypeId;

use serde::Serialize;
use starling_core::{
    Admission, ChannelName, Decision, Effects, Emission, ErrorCode, Payload, RawJson, Refusal, UserId,
};

use super::payload::IntoPayload;

/// What most handlers return: a value for the client, or why not.
///
/// Errors of your own work as well, once `Refusal: From<YourError>`:
///
/// ```
/// use starling::core::Refusal;
///
/// enum ChatError {
///     Muted,
/// }
///
/// impl From<ChatError> for Refusal {
///     fn from(error: ChatError) -> Self {
///         match error {
///             ChatError::Muted => Refusal::custom("MUTED", "you may read, not write"),
///         }
///     }
/// }
/// ```
pub type Answer<T = ()> = Result<T, Refusal>;

/// What an event handler may return: nothing, or a `Result` of a value that serialises (or of nothing) and an error
/// that becomes a [`Refusal`].
#[diagnostic::on_unimplemented(
    message = "an event handler cannot return `{Self}`",
    note = "it returns `()`, or a `Result` whose value serialises and whose error is `Into<Refusal>`"
)]
pub trait Reply {
    /// The answer; none when the handler has nothing to say.
    ///
    /// # Errors
    /// What the client is refused with.
    fn into_reply(self) -> Result<Option<Payload>, Refusal>;
}

impl Reply for () {
    fn into_reply(self) -> Result<Option<Payload>, Refusal> {
        Ok(None)
    }
}

impl<T: IntoPayload + 'static, E: Into<Refusal>> Reply for Result<T, E> {
    fn into_reply(self) -> Result<Option<Payload>, Refusal> {
        match self {
            // `Ok(())` is no answer, rather than the answer `null`.
            Ok(_) if TypeId::of::<T>() == TypeId::of::<()>() => Ok(None),
            Ok(value) => value.into_payload().map(Some),
            Err(error) => Err(error.into()),
        }
    }
}

/// A connection may come in: who it is, what it carries with it, and what happens first.
///
/// ```
/// use serde_json::json;
/// use starling::handlers::Welcome;
///
/// struct Player {
///     level: u32,
/// }
///
/// let welcome = Welcome::new(Player { level: 3 })
///     .user("ann")
///     .info(&json!({"name": "Ann"}))
///     .join("lobby")
///     .emit("hello", &json!({"level": 3}));
/// # let _ = welcome.state().level;
/// ```
#[derive(Debug)]
pub struct Welcome<S = ()> {
    state: S,
    user: Option<UserId>,
    info: Option<RawJson>,
    effects: Result<Effects, Refusal>,
}

impl<S> Welcome<S> {
    /// Lets the connection in as who it is, carrying `state`, which every handler of the connection can reach.
    pub fn new(state: S) -> Self {
        Self { state, user: None, info: None, effects: Ok(Effects::default()) }
    }

    /// What the connection carries.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// Says who it is, where you know better than its token: 1 to 255 bytes.
    pub fn user(mut self, user: impl AsRef<str>) -> Self {
        let user = user.as_ref();
        if user.is_empty() || user.len() > crate::auth::MAX_USER_BYTES {
            tracing::error!(bytes = user.len(), "a user id has 1 to 255 bytes");
            self.effects = Err(Refusal::new(ErrorCode::Internal, "the connection has no valid user"));
        }
        self.user = Some(UserId::from(user));
        self
    }

    /// What others see of the user in presence, which must serialise to a JSON object. An anonymous connection has
    /// none.
    pub fn info(mut self, info: &(impl Serialize + ?Sized)) -> Self {
        match object(info) {
            Ok(info) => self.info = Some(info),
            Err(refusal) => self.effects = Err(refusal),
        }
        self
    }

    /// Makes the connection a member of a channel, whatever its rule says.
    pub fn join(self, channel: impl AsRef<str>) -> Self {
        self.change(|effects| {
            effects.join.push(channel_name(channel.as_ref())?);
            Ok(())
        })
    }

    /// Tells the connection something once it is in.
    pub fn emit(self, event: impl AsRef<str>, payload: impl IntoPayload) -> Self {
        self.change(|effects| {
            effects.emit.push(Emission {
                channel: None,
                event: event.as_ref().into(),
                payload: payload.into_payload()?,
                ack: None,
            });
            Ok(())
        })
    }

    fn change(mut self, change: impl FnOnce(&mut Effects) -> Result<(), Refusal>) -> Self {
        if let Ok(effects) = &mut self.effects
            && let Err(refusal) = change(effects)
        {
            self.effects = Err(refusal);
        }
        self
    }

    /// What is kept of it, and what the server is told about a connection that was `known` until now.
    pub(crate) fn into_parts(self, known: Option<&UserId>) -> Result<(S, Admission), Refusal> {
        let user = match self.user {
            Some(user) => Some((user, self.info)),
            None => known.cloned().zip(self.info).map(|(user, info)| (user, Some(info))),
        };
        Ok((self.state, Admission { user, effects: self.effects? }))
    }
}

/// A connection may become a member: what it is answered, and what happens first.
///
/// ```
/// use serde_json::json;
/// use starling::handlers::Join;
///
/// let join = Join::accept()
///     .reply(json!({"board": [0, 0, 0]}))
///     .present_with(&json!({"status": "online"}));
/// # let _ = join;
/// ```
#[derive(Debug)]
pub struct Join {
    decision: Result<Decision, Refusal>,
}

impl Join {
    /// Lets it in, also where the channel's rule asks for a grant.
    pub fn accept() -> Self {
        Self { decision: Ok(Decision { granted: true, ..Decision::default() }) }
    }

    /// What the client is answered, by protocols whose joins have an answer of the application's (Phoenix).
    pub fn reply(self, reply: impl IntoPayload) -> Self {
        self.change(|decision| {
            decision.reply = Some(reply.into_payload()?);
            Ok(())
        })
    }

    /// Enters presence with this, which must serialise to a JSON object. The channel must have presence.
    pub fn present_with(self, data: &(impl Serialize + ?Sized)) -> Self {
        self.change(|decision| {
            decision.present = Some(object(data)?);
            Ok(())
        })
    }

    /// Tells the new member something about the channel.
    pub fn push(self, channel: &ChannelName, event: impl AsRef<str>, payload: impl IntoPayload) -> Self {
        self.change(|decision| {
            let (channel, event) = (Some(channel.clone()), event.as_ref().into());
            decision.effects.emit.push(Emission { channel, event, payload: payload.into_payload()?, ack: None });
            Ok(())
        })
    }

    fn change(mut self, change: impl FnOnce(&mut Decision) -> Result<(), Refusal>) -> Self {
        if let Ok(decision) = &mut self.decision
            && let Err(refusal) = change(decision)
        {
            self.decision = Err(refusal);
        }
        self
    }
}

impl From<()> for Join {
    fn from((): ()) -> Self {
        Self::accept()
    }
}

/// What a join handler may return: a `Result` of a [`Join`] (or of nothing, which accepts) and an error that becomes a
/// [`Refusal`].
#[diagnostic::on_unimplemented(
    message = "a join handler cannot return `{Self}`",
    note = "it returns a `Result` of `Join` or `()`, whose error is `Into<Refusal>`"
)]
pub trait JoinReply {
    /// What is decided.
    ///
    /// # Errors
    /// What the client is refused with.
    fn into_decision(self) -> Result<Decision, Refusal>;
}

impl<T: Into<Join>, E: Into<Refusal>> JoinReply for Result<T, E> {
    fn into_decision(self) -> Result<Decision, Refusal> {
        self.map_err(Into::into)?.into().decision
    }
}

/// What a publish handler may return: a `Result` of nothing (the message goes its way) or of a payload that takes the
/// place of the client's, and an error that becomes a [`Refusal`].
#[diagnostic::on_unimplemented(
    message = "a publish handler cannot return `{Self}`",
    note = "it returns a `Result` of `()` or of a payload that serialises, whose error is `Into<Refusal>`"
)]
pub trait PublishReply {
    /// What is decided.
    ///
    /// # Errors
    /// What the client is refused with.
    fn into_decision(self) -> Result<Decision, Refusal>;
}

impl<T: IntoPayload + 'static, E: Into<Refusal>> PublishReply for Result<T, E> {
    fn into_decision(self) -> Result<Decision, Refusal> {
        let payload = self.into_reply()?;
        Ok(Decision { granted: true, payload, ..Decision::default() })
    }
}

/// A name that the program itself gives: a wrong one is its defect, and told to clients as such.
pub(crate) fn channel_name(text: &str) -> Result<ChannelName, Refusal> {
    ChannelName::parse(text).map_err(|error| Refusal::new(ErrorCode::InvalidChannel, error.to_string()))
}

fn object(value: &(impl Serialize + ?Sized)) -> Result<RawJson, Refusal> {
    let problem = match RawJson::of(value) {
        Ok(json) if json.is_object() => return Ok(json),
        Ok(_) => "it is no JSON object".to_owned(),
        Err(error) => error.to_string(),
    };
    tracing::error!(problem, "presence data or info cannot be used");
    Err(Refusal::new(ErrorCode::Internal, "the answer could not be written"))
}
