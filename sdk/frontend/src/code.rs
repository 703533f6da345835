//! Kinds of errors.

/// The kind of an error, as daemons and clients tell each other. These are gRPC's codes, all that
/// there are, so that a match may be complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Code {
    /// It was no longer wanted.
    Cancelled,
    /// The message says all there is to say.
    Unknown,
    /// The request is wrong, whatever the state of things.
    InvalidArgument,
    /// It took too long.
    DeadlineExceeded,
    /// There is no such thing.
    NotFound,
    /// There is such a thing already.
    AlreadyExists,
    /// Who asks may not do this.
    PermissionDenied,
    /// Some limit is reached.
    ResourceExhausted,
    /// It cannot be done as things are now.
    FailedPrecondition,
    /// Something else came in between.
    Aborted,
    /// Beyond the end.
    OutOfRange,
    /// Nobody knows how to do this.
    Unimplemented,
    /// A mistake of the program.
    Internal,
    /// Nobody answers, or not now.
    Unavailable,
    /// Data is lost or damaged.
    DataLoss,
    /// It is not known who asks.
    Unauthenticated,
}

impl Code {
    /// The code of a status; one that is no error says nothing about the error that it came with.
    pub(crate) fn from_wire(code: tonic::Code) -> Self {
        match code {
            tonic::Code::Ok | tonic::Code::Unknown => Self::Unknown,
            tonic::Code::Cancelled => Self::Cancelled,
            tonic::Code::InvalidArgument => Self::InvalidArgument,
            tonic::Code::DeadlineExceeded => Self::DeadlineExceeded,
            tonic::Code::NotFound => Self::NotFound,
            tonic::Code::AlreadyExists => Self::AlreadyExists,
            tonic::Code::PermissionDenied => Self::PermissionDenied,
            tonic::Code::ResourceExhausted => Self::ResourceExhausted,
            tonic::Code::FailedPrecondition => Self::FailedPrecondition,
            tonic::Code::Aborted => Self::Aborted,
            tonic::Code::OutOfRange => Self::OutOfRange,
            tonic::Code::Unimplemented => Self::Unimplemented,
            tonic::Code::Internal => Self::Internal,
            tonic::Code::Unavailable => Self::Unavailable,
            tonic::Code::DataLoss => Self::DataLoss,
            tonic::Code::Unauthenticated => Self::Unauthenticated,
        }
    }

    pub(crate) fn to_wire(self) -> tonic::Code {
        match self {
            Self::Cancelled => tonic::Code::Cancelled,
            Self::Unknown => tonic::Code::Unknown,
            Self::InvalidArgument => tonic::Code::InvalidArgument,
            Self::DeadlineExceeded => tonic::Code::DeadlineExceeded,
            Self::NotFound => tonic::Code::NotFound,
            Self::AlreadyExists => tonic::Code::AlreadyExists,
            Self::PermissionDenied => tonic::Code::PermissionDenied,
            Self::ResourceExhausted => tonic::Code::ResourceExhausted,
            Self::FailedPrecondition => tonic::Code::FailedPrecondition,
            Self::Aborted => tonic::Code::Aborted,
            Self::OutOfRange => tonic::Code::OutOfRange,
            Self::Unimplemented => tonic::Code::Unimplemented,
            Self::Internal => tonic::Code::Internal,
            Self::Unavailable => tonic::Code::Unavailable,
            Self::DataLoss => tonic::Code::DataLoss,
            Self::Unauthenticated => tonic::Code::Unauthenticated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_protocol_has_its_own() {
        for number in 1..=16 {
            let wire = tonic::Code::from_i32(number);
            assert_eq!(Code::from_wire(wire).to_wire(), wire);
        }
        assert_eq!(Code::from_wire(tonic::Code::Ok), Code::Unknown);
    }
}
