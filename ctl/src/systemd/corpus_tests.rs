//! Unit files as fleet's and CoreOS' users wrote them, in `golden/import`: beside each `NAME.service` is the document that comes
//! of it (`.toml`, where one does) and what is said of its lines (`.said`).
//!
//! `FERRITE_BLESS=1 cargo test -p ferrite-ctl corpus` writes them anew; read them before they are kept.

use std::fs;
use std::path::{Path, PathBuf};

use super::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/import")
}

fn said(findings: &[Finding]) -> String {
    let line =
        |one: &Finding| format!("{}: {}: {}: {}\n", one.line, one.kind.words(), one.what, one.why);
    findings.iter().map(line).collect()
}

/// What a file is to be, and what is said of it.
fn outcome(service: &Path) -> (Option<String>, String) {
    let name = Name::of(service.file_name().unwrap().to_str().unwrap()).unwrap();
    let timer = fs::read_to_string(service.with_extension("timer")).ok();
    let (timer, of_timer) = timer.map(|text| super::timer(&text).unwrap()).unzip();
    let text = fs::read_to_string(service).unwrap();
    let mut all = of_timer.map(|findings| format!("{}---\n", said(&findings))).unwrap_or_default();
    match import(&name, &text, timer)
        .unwrap_or_else(|problem| panic!("{}: {problem}", service.display()))
    {
        Outcome::Unit(imported) => {
            all.push_str(&said(&imported.findings));
            (Some(imported.document), all)
        }
        Outcome::NotNeeded(finding) => {
            all.push_str(&said(&[finding]));
            (None, all)
        }
    }
}

#[test]
fn the_corpus_becomes_what_it_should() {
    let mut count = 0;
    let mut wrong = Vec::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let service = entry.unwrap().path();
        if service.extension().is_none_or(|extension| extension != "service") {
            continue;
        }
        count += 1;
        let (document, said) = outcome(&service);
        for (extension, now) in [("toml", document), ("said", Some(said))] {
            let file = service.with_extension(extension);
            if std::env::var_os("FERRITE_BLESS").is_some() {
                match &now {
                    Some(text) => fs::write(&file, text).unwrap(),
                    None => drop(fs::remove_file(&file)),
                }
            }
            let kept = fs::read_to_string(&file).ok();
            if kept != now {
                wrong.push(format!("{}:\n{}\n", file.display(), now.unwrap_or_default()));
            }
        }
    }
    assert!(count >= 12, "{count}");
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

fn refused(text: &str, line: usize, words: &str) {
    let name = Name::of("web@").unwrap();
    let problem = import(&name, text, None).expect_err(text);
    assert_eq!(problem.line, line, "{text}: {problem}");
    assert!(problem.message.contains(words), "{text}: {problem}");
}

#[test]
fn what_cannot_be_understood_is_placed_and_says_what_to_do() {
    for (text, line, words) in [
        ("", 1, "there is no `ExecStart=`"),
        ("[Service]\nType=oneshot\n", 2, "there is no `ExecStart=`"),
        ("[Service]\nExecStart=/usr/bin/node app.js\n", 2, "put it into an image"),
        (
            "[Service]\nExecStart=/bin/bash -c 'docker run a | tee /log'\n",
            2,
            "a shell's script is not read",
        ),
        ("[Service]\nExecStart=/usr/bin/docker start -a x\n", 2, "the `docker run` that made it"),
        ("[Service]\nExecStart=/usr/bin/docker pull x\n", 2, "runs no container"),
        ("[Service]\nExecStart=/usr/bin/docker run --rm\n", 2, "names no image"),
        (
            "[Service]\nExecStart=/usr/bin/docker run a\nExecStart=/usr/bin/docker run b\n",
            3,
            "one container",
        ),
        (
            "[Service]\nExecStart=/usr/bin/docker run a ; /usr/bin/docker run b\n",
            2,
            "one container",
        ),
        (
            "[Service]\nExecStart=docker run \\\n --rm \\\n --nmae=x --rmm a\n",
            4,
            "`--rmm` is no option of `docker run`",
        ),
        (
            "[Service]\nExecStart=docker run a:${TAG}\n",
            2,
            "the image's name is not known: `${TAG}`",
        ),
        ("[Service]\nExecStart=docker run \\\n UPPER/Case\n", 3, "no reference to an image"),
        (
            "[Service]\nExecStart=docker run \\\n -v x:/a \\\n -v y:/a b\n",
            4,
            "another volume has this target already",
        ),
        ("[Service]\nExecStart=docker run \\\n -p 80:80 \\\n -p 80:81 b\n", 4, "published already"),
        ("[Service]\nExecStart=docker run -v x:/proc b\n", 2, "not to be covered"),
        ("[Service]\nExecStart=docker run --user 4294967295 b\n", 2, "is no ID"),
        ("[Service]\nExecStart=docker run 'b\n", 2, "never closed"),
        ("[Service]\nExecStart=rkt run\n", 2, "names no image"),
        ("[Service]\nExecStart=rkt run docker://a docker://b\n", 2, "make a unit of each image"),
        (
            "[Service]\nExecStart=rkt run docker://a --- docker://b\n",
            2,
            "make a unit of each image",
        ),
        ("[Service]\nExecStart=rkt run --pod-manifest=/x\n", 2, "manifest is not read"),
        ("[Service]\nExecStart=rkt run https://example.com/a.aci\n", 2, "rkt's own kind"),
        ("[Service]\nExecStart=-\n", 2, "names no program"),
    ] {
        refused(text, line, words);
    }
}

/// A word of a shell is one of a program, too, and a variable that nobody knows is not taken for its name.
#[test]
fn nothing_that_is_not_known_is_made_up() {
    let text = "[Service]\nExecStart=docker run -e A=${X} -e B -e C=1 --env-file /f -v ${DIR}:/d -m ${M} -p ${P}:80 -p 1%i:80 -h ${H} a $ARGS\n";
    let Outcome::Unit(imported) = import(&Name::of("web@").unwrap(), text, None).unwrap() else {
        panic!()
    };
    let unit = &imported.unit;
    assert_eq!(unit.env.keys().collect::<Vec<_>>(), ["C"]);
    assert!(unit.volumes.is_empty() && unit.ports.is_empty() && unit.hostname.is_none());
    assert_eq!(unit.resources.memory, None);
    let lost = imported.findings.iter().filter(|one| one.kind == findings::Kind::Lost).count();
    assert_eq!(lost, 9, "{}", said(&imported.findings));
}
