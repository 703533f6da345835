//! The façade of Kiln's SDK: what a new build language imports, and nothing else.
//!
//! A language reads its file with [`document`], describes images with [`llb`] and answers builds
//! through [`frontend`]; [`oci`] has the words they share. Nothing is defined here. The
//! [`prelude`] has the names that nearly every language needs.
//!
//! # A first language
//!
//! A language is a type for its file and what becomes of it. Values that an error may have to point
//! at are [`Spanned`](document::Spanned); [`document::parse`] reads YAML, TOML and JSON into any type
//! that serde can read, and says all mistakes at once with their line.
//!
//! ```
//! use kiln_sdk::prelude::*;
//!
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Recipe {
//!     from: Spanned<String>,
//!     #[serde(default)]
//!     run: Vec<Spanned<String>>,
//! }
//!
//! struct Recipes;
//!
//! #[async_trait]
//! impl BuildLanguage for Recipes {
//!     type Plan = Recipe;
//!     const NAME: &'static str = "recipes";
//!     const FILES: &'static [&'static str] = &["recipe.yaml"];
//!
//!     fn read(&self, source: &Source) -> Result<Parsed<Recipe>, Vec<Diagnostic>> {
//!         parse(source, Language::Yaml, &Limits::default()).map(Parsed::new)
//!     }
//!
//!     async fn build(
//!         &self,
//!         project: &Project<'_, Recipe>,
//!         target: &TargetPlatform,
//!     ) -> Result<PlatformResult, FrontendError> {
//!         let from = &project.plan.from;
//!         let base = project.base(from, Some(from.span), &target.platform).await?;
//!         let mut state = base.state(project.step(target, from, from.span));
//!         for command in &project.plan.run {
//!             let constraints = project.step(target, command, command.span);
//!             let exec = Exec::sh(&**command).with_constraints(constraints);
//!             state = state.run(project.exec(exec)).root();
//!         }
//!         let config = base.config(&target.platform);
//!         Ok(PlatformResult::new(state, &config).based_on(base.image_config()))
//!     }
//! }
//!
//! // Tested without a daemon, root or network.
//! let file = "from: debian:13\nrun: [make]\n";
//! let fixture = kiln_testing::Fixture::new().any_image().file("dockerfile", "recipe.yaml", file);
//! let built = fixture.build(&Recipes)?;
//! assert_eq!(built.definition().len(), 3);
//!
//! // A mistake is shown where it was made.
//! let mistaken = fixture.file("dockerfile", "recipe.yaml", "form: debian:13\n");
//! let error = mistaken.build(&Recipes).unwrap_err().to_string();
//! assert!(error.contains("recipe.yaml:1:1") && error.contains("did you mean `from`?"), "{error}");
//! # Ok::<(), FrontendError>(())
//! ```
//!
//! # Contexts
//!
//! [`Project::context`](frontend::Project::context) is the user's main context with the paths that
//! are needed of it, wherever it is: a directory of the client, git, an archive behind a URL, an OCI
//! layout, a graph of another build. [`Project::base`](frontend::Project::base) gives what the user
//! says instead of an image (`--build-context NAME=…`) before it asks a registry. Ignore files are
//! honoured by both. [`Contexts`](frontend::Contexts) is what they are made of.
//!
//! ```
//! # use kiln_sdk::prelude::*;
//! # async fn lower(project: &Project<'_, ()>, base: State) -> Result<State, FrontendError> {
//! let context = project.context(vec!["src".to_owned()]).await?;
//! let copy = CopyOptions::default().with_create_dest_path(true);
//! Ok(base.file(Action::copy(&context, "/src", "/app/src", copy)))
//! # }
//! ```
//!
//! # Platforms
//!
//! `build` is called once for each platform that was asked for, and the index over the images is
//! made for it. [`Project::step`](frontend::Project::step) names a step, with the platform where
//! there are several, and gives it the platform and the place in the user's file: that is what makes
//! a command that fails hours later point at its line. What is the same for all platforms is built
//! once.
//!
//! # Errors
//!
//! [`FrontendError`](frontend::FrontendError) has constructors for who is to blame: `invalid` for the
//! user, `internal` for the language. [`Project::mistake`](frontend::Project::mistake) points at a
//! place, and a [`Diagnostic`](document::Diagnostic) has hints as well. Warnings go with the plan out
//! of `read`; they are shown in the progress, and listed for `--call check`.
//!
//! ```
//! # use kiln_sdk::prelude::*;
//! # fn check(port: &Spanned<String>) -> Vec<Diagnostic> {
//! match port.parse::<u16>() {
//!     Ok(_) => Vec::new(),
//!     Err(_) => vec![
//!         Diagnostic::error(format!("`{}` is not a port", port.value))
//!             .at(port.span)
//!             .hint("write a number between 0 and 65535"),
//!     ],
//! }
//! # }
//! ```
//!
//! # LLB alone
//!
//! [`State`](llb::State) describes file systems without a language around:
//!
//! ```
//! use kiln_sdk::prelude::*;
//!
//! let source = State::local("context", Local::default().with_session_id("s"));
//! let hello = Action::copy(&source, "/hello", "/hello", CopyOptions::default());
//! let image = State::scratch().file(hello);
//! let definition = image.marshal(&Marshal::on(Platform::new("linux", "amd64")))?;
//! assert_eq!(definition.len(), 3);
//! # Ok::<(), MarshalError>(())
//! ```
//!
//! # Options
//!
//! Options are structs with a default and a method for each field: `Exec::sh("make").with_dir("/src")`.
//! Fields can be read and changed. New ones may come with any version, which is why such a struct
//! cannot be written as a literal; the same is true of enums that may grow.
//!
//! # Features
//!
//! | feature | what comes with it |
//! |---|---|
//! | `schema` | all mistakes of a file at once, with what was meant, by the JSON Schema of its type; without it, reading stops at the first mistake |
//! | `xz` | the age of contexts that are archives packed with xz, which takes a C library |
//! | `pb` | the messages of the protocol in the API, for programs that speak it themselves; they follow the schemas, not the version of this crate |
//!
//! Only `schema` is on by default: a language is a client of the daemon on its standard streams, and nothing
//! else of the protocol is compiled into it.
//!
//! # Testing, packaging, publishing
//!
//! `kiln-testing` has the fixture from above, snapshots of LLB as text, a simulation of which steps
//! run after an edit, and a kit of questions that every frontend has to answer. The program is one
//! call of [`frontend::serve::main`]; `kiln frontend new` writes such a project with schema, samples and
//! tests, `kiln frontend pack` makes it an image that BuildKit, Docker and Kiln take as `# syntax=`,
//! and `kiln frontend push` publishes that.

pub mod prelude;

pub use kiln_document as document;
pub use kiln_frontend as frontend;
pub use kiln_llb as llb;
pub use kiln_oci as oci;
