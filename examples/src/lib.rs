//! Short programs: LLB from code, and frontends.
//!
//! LLB from code is in `bin/` (`hello-llb`, `hardcode-image`, `hardcode-scratch`). The frontends
//! are here, because their tests call them: a whole language in [`tiny`], one more instruction for
//! Dockerfiles in [`dialect`], other frontends put together in [`compose`], images without anything
//! that is not asked for in [`hardened`], plans that tools write in [`plan`].

pub mod compose;
pub mod dialect;
pub mod hardened;
pub mod plan;
pub mod tiny;

#[cfg(doctest)]
mod front_page;
