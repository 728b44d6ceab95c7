//! The folder of the variant `slim`: what is committed there agrees with itself, with the other variants, and with others'
//! advice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use ferrite_image::kernel::definition::Definition;
use ferrite_image::variant::Variant;

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs")
}

/// The folder of the variant `slim`.
fn slim() -> Definition {
    Definition::read(&configs().join("kernel/slim")).unwrap()
}

#[test]
fn every_module_of_the_other_variants_is_built_in_or_lost_for_a_reason() {
    let modules = slim().modules;
    let mut all = BTreeSet::new();
    for name in ["cloud", "metal"] {
        let variant =
            Variant::read(&configs().join("variants").join(name).with_extension("toml")).unwrap();
        all.extend(variant.modules.initramfs.into_iter().chain(variant.modules.root));
    }
    assert!(all.len() > 100, "{}", all.len());
    let listed =
        |name: &String| modules.built_in.contains_key(name) || modules.lost.contains_key(name);
    let missing: Vec<_> = all.iter().filter(|name| !listed(name)).collect();
    assert!(missing.is_empty(), "in a variant's list and not in modules.toml: {missing:?}");
    let gone: Vec<_> = modules
        .built_in
        .keys()
        .chain(modules.lost.keys())
        .filter(|name| !all.contains(*name))
        .collect();
    assert!(gone.is_empty(), "in modules.toml and in no variant's list: {gone:?}");
    let both: Vec<_> =
        modules.built_in.keys().filter(|name| modules.lost.contains_key(*name)).collect();
    assert!(both.is_empty(), "{both:?}");
    assert!(modules.lost.values().all(|reason| reason.len() > 10));
}

#[test]
fn what_is_committed_agrees_with_itself() {
    let slim = slim();
    let result = slim.result.as_ref().unwrap();
    for (module, option) in &slim.modules.built_in {
        assert_eq!(result.value(option), "y", "{module}");
    }
    for (option, setting) in slim.fragment.iter() {
        assert_eq!(result.value(option), setting.value, "CONFIG_{option}");
    }
    for (option, value) in &slim.hardening.expected {
        assert_eq!(result.value(option), value, "CONFIG_{option}");
    }
    for option in slim.hardening.not_so.keys().chain(slim.mitigations.off.keys()) {
        assert_ne!(result.value(option), "m", "CONFIG_{option}");
    }
}

/// PID 1 answers what this kernel runs for a hypervisor, under this very name.
#[test]
fn the_kernel_runs_pid_1s_own_program_and_no_other() {
    let slim = slim();
    let expected = format!("{:?}", ferrite_schema::names::INIT);
    assert_eq!(slim.fragment.value("STATIC_USERMODEHELPER_PATH"), expected);
}

/// The lines of `checker.toml`, by the name of their table.
fn checker() -> BTreeMap<String, BTreeMap<String, String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernel/checker.toml");
    ferrite_schema::document::parse(&fs::read_to_string(path).unwrap()).unwrap()
}

/// What a public checker has against this configuration is accepted, each with its reason; `scripts/hardening` asks it again.
#[test]
fn what_the_public_checker_has_against_this_kernel_is_accepted_for_a_reason() {
    let (slim, checker) = (slim(), checker());
    let (failures, because) = (&checker["failures"], &checker["because"]);
    assert!(failures.len() > 40, "{}", failures.len());
    let listed = |option: &String| {
        slim.hardening.not_so.contains_key(option)
            || slim.mitigations.off.contains_key(option)
            || because.contains_key(option)
    };
    let unlisted: Vec<_> = failures.keys().filter(|option| !listed(option)).collect();
    assert!(unlisted.is_empty(), "accepted by nobody: {unlisted:?}");
    let needless: Vec<_> = because.keys().filter(|name| !failures.contains_key(*name)).collect();
    assert!(needless.is_empty(), "the checker has nothing against {needless:?}");
    let twice: Vec<_> =
        because.keys().filter(|name| slim.hardening.not_so.contains_key(*name)).collect();
    assert!(twice.is_empty(), "hardening.toml says why already: {twice:?}");
    assert!(because.values().all(|reason| reason.len() > 10));
    // What it wants and this source offers was decided in the kernel's folder, where a build holds to it.
    let result = slim.result.as_ref().unwrap();
    for (option, wanted) in failures {
        let is = result.get(option).map(|setting| setting.value.as_str());
        assert_ne!(is, Some(wanted.as_str()), "{option} is as the checker wants it: ask it again");
    }
}

#[test]
fn no_exception_is_made_of_what_is_expected_and_each_has_a_reason() {
    let slim = slim();
    for option in slim.hardening.not_so.keys() {
        assert!(!slim.hardening.expected.contains_key(option), "{option}");
    }
    for (option, not_so) in &slim.hardening.not_so {
        assert!(not_so.because.len() > 10, "{option}");
    }
}
