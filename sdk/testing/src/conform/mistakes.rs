//! Checks of what happens when the input is wrong.

use bytes::Bytes;
use kiln_wire::status::{RichStatus, Source};
use tonic::Code;

use super::checks::{Found, Kit, fail, none, pass, said, settle};
use super::graph::shortened;
use super::result::in_file;
use super::run::{Order, Wrong};
use super::samples::SampleKind;

/// What no language takes for its own.
const GARBAGE: &str = "}{ this is no language ]]>\n\t: - %%% \"unclosed\n  <<: *nobody\n";
/// How many cut files are tried.
const CUTS: usize = 8;

pub(crate) async fn broken_input(kit: &Kit<'_>) -> Found {
    settle(async {
        if kit.sample.kind == SampleKind::Broken {
            let wrong = kit.plain.outcome.as_ref().err();
            let wrong = wrong.ok_or_else(|| fail("a file that is broken on purpose builds"))?;
            let line = points_at(said(wrong)?, &kit.sample.file, &kit.sample.text())?;
            return Ok(pass(format!("the error points at line {line}")));
        }
        kit.done()?;
        let text = Bytes::from_static(GARBAGE.as_bytes());
        let sample = kit.sample.with_text(text.clone());
        let run = kit.run(Order::plain(&sample)).await;
        let Err(wrong) = &run.outcome else {
            return Err(fail("a file of garbage builds"));
        };
        points_at(said(wrong)?, &sample.file, &text)?;
        let mut errors = 1;
        for text in cuts(&kit.sample.text()) {
            let sample = kit.sample.with_text(text.clone());
            let run = kit.run(Order::plain(&sample)).await;
            // Whether half a file is a mistake is the language's own business.
            let Err(Wrong::Said(status)) = &run.outcome else { continue };
            errors += 1;
            points_at(status, &sample.file, &text).map_err(|found| match found {
                Found::Fail(why) => {
                    fail(format!("of a file cut after {} bytes: {why}", text.len()))
                }
                other => other,
            })?;
        }
        Ok(pass(format!("{errors} broken files, each error with a place in the file")))
    })
    .await
}

/// The line that an error points at; fails if it points nowhere.
fn points_at(status: &RichStatus, file: &str, text: &[u8]) -> Result<i32, Found> {
    let message = shortened(&status.message);
    if status.code == Code::Internal {
        return Err(fail(format!("a mistake of the user is called an internal error: {message}")));
    }
    let sources: Vec<&Source> = status.sources().collect();
    if sources.is_empty() {
        return Err(fail(format!(
            "the error says no place in the file (errdefs.Source): {message}"
        )));
    }
    let placed = sources.iter().find(|source| !source.ranges.is_empty());
    let placed =
        placed.ok_or_else(|| fail(format!("the error names the file but no lines: {message}")))?;
    if placed.info.filename.rsplit('/').next() != file.rsplit('/').next() {
        return Err(fail(format!(
            "the error points into {:?}, not into {file}",
            placed.info.filename
        )));
    }
    if placed.info.data != text {
        return Err(fail(format!("the error carries another text than the file's: {message}")));
    }
    in_file(text, &placed.ranges)
        .map_err(|why| fail(format!("the error points at {why}: {message}")))?;
    let start = placed.ranges.first().and_then(|range| range.start.as_ref());
    Ok(start.map_or(0, |start| start.line))
}

/// The beginnings of a text, at the ends of characters.
fn cuts(text: &Bytes) -> Vec<Bytes> {
    let whole = String::from_utf8_lossy(text);
    (1..CUTS)
        .map(|part| {
            let mut end = whole.len() * part / CUTS;
            while !whole.is_char_boundary(end) {
                end -= 1;
            }
            Bytes::from(whole[..end].to_owned())
        })
        .filter(|cut| !cut.is_empty())
        .collect()
}

pub(crate) async fn survives_anything(kit: &Kit<'_>) -> Found {
    settle(async {
        if kit.sample.kind == SampleKind::Broken {
            return match &kit.plain.outcome {
                Err(wrong @ (Wrong::Crashed(_) | Wrong::Hung(_))) => Err(fail(wrong.to_string())),
                _ => Ok(pass("an error, not a crash")),
            };
        }
        kit.done()?;
        let text = kit.sample.text();
        let mut inputs: Vec<(String, Bytes)> = vec![
            ("an empty file".into(), Bytes::new()),
            (
                "a file that is not UTF-8".into(),
                Bytes::from_static(b"\xff\xfe\x00\xd8: \x80\xbf\n"),
            ),
            ("a file of zeros".into(), Bytes::from_static(&[0; 4096])),
            ("deep brackets".into(), Bytes::from("[{(".repeat(20_000))),
            ("one long line".into(), Bytes::from("a".repeat(1 << 20))),
            ("a file of garbage".into(), Bytes::from_static(GARBAGE.as_bytes())),
        ];
        inputs.extend(
            cuts(&text)
                .into_iter()
                .map(|cut| (format!("a file cut after {} bytes", cut.len()), cut)),
        );
        for part in 0..CUTS {
            let mut damaged = text.to_vec();
            let at = damaged.len() * part / CUTS;
            if let Some(byte) = damaged.get_mut(at) {
                *byte = b'\x01';
                inputs.push((format!("a file with byte {at} damaged"), damaged.into()));
            }
        }
        let count = inputs.len();
        for (what, text) in inputs {
            let sample = kit.sample.with_text(text);
            let run = kit.run(Order::plain(&sample)).await;
            if let Err(wrong @ (Wrong::Crashed(_) | Wrong::Hung(_))) = &run.outcome {
                return Err(fail(format!("with {what}: {wrong}")));
            }
        }
        Ok(pass(format!("{count} damaged files, no crash")))
    })
    .await
}

pub(crate) async fn missing_file(kit: &Kit<'_>) -> Found {
    settle(async {
        if kit.sample.kind == SampleKind::Broken {
            return Err(none("the sample is broken on purpose"));
        }
        let nowhere = "kiln-conform-nowhere.file";
        let gone = kit.sample.without_file();
        let file = kit.sample.file.clone();
        let orders = [
            (kit.order().with("filename", nowhere), nowhere.to_owned()),
            (Order::plain(&gone), file),
        ];
        for (order, name) in orders {
            let run = kit.run(order).await;
            let Err(wrong) = &run.outcome else {
                return Err(fail(format!("it builds although {name} does not exist")));
            };
            let status = said(wrong)?;
            if !status.message.contains(&name) {
                return Err(fail(format!(
                    "the error does not name {name}: {}",
                    shortened(&status.message)
                )));
            }
        }
        Ok(pass("the error names the file"))
    })
    .await
}
