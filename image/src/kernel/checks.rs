//! Judges a kernel's configuration: what was asked for is there, and nothing was lost unseen.

use std::fmt;

use super::configuration::{Configuration, Setting};
use super::definition::{
    Definition, FRAGMENT, HARDENING, Hardening, MITIGATIONS, MODULES, Mitigations, Modules, RESULT,
};
use super::symbols::Symbols;

/// Begins the name of every option that is about a flaw of processors.
const MITIGATION: &str = "MITIGATION_";
const ON: &str = "y";

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// The fragment names an option that this source does not have.
    Unknown {
        /// Line of the fragment.
        line: usize,
        /// Option.
        option: String,
    },
    /// The result differs from what the fragment asks for.
    NotAsAsked {
        /// Line of the fragment.
        line: usize,
        /// Option.
        option: String,
        /// What the fragment says.
        asked: String,
        /// What came out; `None` where the option is not even offered.
        found: Option<String>,
        /// What the option says it depends on.
        conditions: Vec<String>,
    },
    /// A flaw of processors that nothing is done about, and nobody says why.
    Unmitigated {
        /// Option.
        option: String,
    },
    /// Something expected of the kernel is not so.
    NotHard {
        /// Option.
        option: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A module should be built in and its option is not on.
    NotBuiltIn {
        /// Module.
        module: String,
        /// Option.
        option: String,
    },
    /// A list names an option that this source does not have.
    Unlisted {
        /// File that lists it.
        file: &'static str,
        /// Option.
        option: String,
    },
    /// An exception is listed that is none any more.
    Needless {
        /// File that lists it.
        file: &'static str,
        /// Option.
        option: String,
    },
    /// The committed result differs from the one that came out.
    Changed {
        /// Line of the committed result; `None` where it does not mention the option.
        line: Option<usize>,
        /// Option.
        option: String,
        /// What is committed; `None`: nothing.
        committed: Option<String>,
        /// What came out; `None`: nothing.
        found: Option<String>,
    },
    /// There is no committed result at all.
    NoResult,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { line, option } => {
                write!(f, "{FRAGMENT}:{line}: this kernel has no option CONFIG_{option}")
            }
            Self::NotAsAsked { line, option, asked, found, conditions } => {
                write!(f, "{FRAGMENT}:{line}: CONFIG_{option}={asked} is asked for and ")?;
                match found {
                    Some(found) => write!(f, "came out as {found}")?,
                    None => write!(f, "did not come out")?,
                }
                match conditions.as_slice() {
                    [] => write!(f, "; another option forces it, or its menu is off"),
                    conditions => write!(f, "; it depends on {}", conditions.join(" and on ")),
                }
            }
            Self::Unmitigated { option } => write!(
                f,
                "CONFIG_{option} is off; ask for it in {FRAGMENT}, or say in {MITIGATIONS} why not"
            ),
            Self::NotHard { option, expected, found } => {
                write!(f, "CONFIG_{option} is {found}; {HARDENING} expects {expected}")
            }
            Self::NotBuiltIn { module, option } => write!(
                f,
                "module {module} should be built in by CONFIG_{option}, which is off; see {MODULES}"
            ),
            Self::Unlisted { file, option } => {
                write!(f, "{file}: this kernel has no option CONFIG_{option}")
            }
            Self::Needless { file, option } => {
                write!(f, "{file} makes an exception of CONFIG_{option}, which is none: remove it")
            }
            Self::Changed { line, option, committed, found } => {
                let word =
                    |value: &Option<String>| value.clone().unwrap_or_else(|| "absent".to_owned());
                match line {
                    Some(line) => write!(f, "{RESULT}:{line}: ")?,
                    None => write!(f, "{RESULT}: ")?,
                }
                write!(f, "CONFIG_{option} was {} and is {}", word(committed), word(found))
            }
            Self::NoResult => write!(f, "{RESULT} is not there"),
        }
    }
}

/// Everything that is wrong with `result`, a configuration that came out of `definition`'s fragment.
#[must_use]
pub fn judge(definition: &Definition, symbols: &Symbols, result: &Configuration) -> Vec<Finding> {
    let mut findings = asked(&definition.fragment, symbols, result);
    findings.extend(mitigations(&definition.mitigations, symbols, result));
    findings.extend(hardening(&definition.hardening, symbols, result));
    findings.extend(modules(&definition.modules, result));
    findings
}

/// What the kernel's folder says of its own, apart from the source, that a configuration which came out of it earlier does not
/// agree with: whoever changes a table hears of it, though the kernel is there already.
#[must_use]
pub fn judge_built(definition: &Definition, result: &Configuration) -> Vec<Finding> {
    let mut findings = hardness(&definition.hardening, result);
    findings.extend(modules(&definition.modules, result));
    findings
}

/// Every line of the fragment is in the result.
fn asked(fragment: &Configuration, symbols: &Symbols, result: &Configuration) -> Vec<Finding> {
    let mut findings: Vec<(usize, Finding)> = Vec::new();
    for (option, Setting { value, line }) in fragment.iter() {
        let (option, line) = (option.to_owned(), *line);
        if !symbols.knows(&option) {
            findings.push((line, Finding::Unknown { line, option }));
        } else if result.value(&option) != value {
            let found = result.get(&option).map(|setting| setting.value.clone());
            let conditions = symbols.conditions(&option).to_vec();
            let asked = value.clone();
            findings.push((line, Finding::NotAsAsked { line, option, asked, found, conditions }));
        }
    }
    findings.sort_by_key(|(line, _)| *line);
    findings.into_iter().map(|(_, finding)| finding).collect()
}

/// Whatever the source can do about flaws of processors is on.
fn mitigations(
    exceptions: &Mitigations,
    symbols: &Symbols,
    result: &Configuration,
) -> Vec<Finding> {
    let missing = symbols
        .starting_with(MITIGATION)
        .filter(|option| result.value(option) != ON && !exceptions.off.contains_key(*option))
        .map(|option| Finding::Unmitigated { option: option.to_owned() });
    let needless = exceptions
        .off
        .keys()
        .filter(|option| !symbols.knows(option) || result.value(option) == ON)
        .map(|option| Finding::Needless { file: MITIGATIONS, option: option.clone() });
    missing.chain(needless).collect()
}

fn hardening(hardening: &Hardening, symbols: &Symbols, result: &Configuration) -> Vec<Finding> {
    // A slip of the pen would be off in every kernel, and look as if it were as it should be.
    let named = hardening.expected.keys().chain(hardening.not_so.keys());
    let unknown = named
        .filter(|option| !symbols.knows(option))
        .map(|option| Finding::Unlisted { file: HARDENING, option: option.clone() });
    hardness(hardening, result).into_iter().chain(unknown).collect()
}

fn hardness(hardening: &Hardening, result: &Configuration) -> Vec<Finding> {
    let missing = hardening.expected.iter().filter_map(|(option, expected)| {
        let found = result.value(option);
        (found != expected).then(|| Finding::NotHard {
            option: option.clone(),
            expected: expected.clone(),
            found: found.to_owned(),
        })
    });
    let needless = hardening.not_so.iter().filter(|(option, not_so)| {
        result.value(option) == not_so.recommended || hardening.expected.contains_key(*option)
    });
    let needless =
        needless.map(|(option, _)| Finding::Needless { file: HARDENING, option: option.clone() });
    missing.chain(needless).collect()
}

fn modules(modules: &Modules, result: &Configuration) -> Vec<Finding> {
    modules
        .built_in
        .iter()
        .filter(|(_, option)| result.value(option) != ON)
        .map(|(module, option)| Finding::NotBuiltIn {
            module: module.clone(),
            option: option.clone(),
        })
        .collect()
}

/// Where the committed result differs from the one that came out.
#[must_use]
pub fn changes(committed: Option<&Configuration>, result: &Configuration) -> Vec<Finding> {
    let Some(committed) = committed else { return vec![Finding::NoResult] };
    let value = |setting: Option<&Setting>| setting.map(|setting| setting.value.clone());
    // An option that is off and one that is not offered are told apart here: an update that brings an option shows it.
    let mut findings: Vec<Finding> = committed
        .iter()
        .filter(|(option, setting)| value(result.get(option)).as_ref() != Some(&setting.value))
        .map(|(option, setting)| Finding::Changed {
            line: Some(setting.line),
            option: option.to_owned(),
            committed: Some(setting.value.clone()),
            found: value(result.get(option)),
        })
        .collect();
    let new = result.iter().filter(|(option, _)| committed.get(option).is_none());
    findings.extend(new.map(|(option, setting)| Finding::Changed {
        line: None,
        option: option.to_owned(),
        committed: None,
        found: Some(setting.value.clone()),
    }));
    findings
}

/// Options that say which tools made a configuration.
const TOOLS: [&str; 4] = ["CC_VERSION_TEXT", "AS_VERSION", "LD_VERSION", "PAHOLE_VERSION"];

/// Whether two configurations are of different sources, or were made by different tools: then what differs between them may be
/// somebody else's doing. That of one source and the same tools is ours.
#[must_use]
pub fn is_of_others(committed: &Configuration, result: &Configuration) -> bool {
    committed.of() != result.of()
        || TOOLS.into_iter().any(|option| committed.value(option) != result.value(option))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::definition::NotSo;

    fn symbols() -> Symbols {
        let mut symbols = Symbols::default();
        symbols.read(
            "config NET\nconfig EFI\nconfig TUN\n depends on NET\nconfig LOCK\n depends on EFI\n depends on NET\n\
             config MITIGATION_A\nconfig MITIGATION_B\n",
        );
        symbols
    }

    fn definition(fragment: &str) -> Definition {
        Definition {
            folder: "k".into(),
            fragment_text: fragment.to_owned(),
            fragment: Configuration::parse(fragment).unwrap(),
            result: None,
            mitigations: Mitigations::default(),
            hardening: Hardening::default(),
            modules: Modules::default(),
        }
    }

    fn found(definition: &Definition, result: &str) -> Vec<String> {
        let result = Configuration::parse(&format!(
            "CONFIG_MITIGATION_A=y\nCONFIG_MITIGATION_B=y\n{result}"
        ));
        judge(definition, &symbols(), &result.unwrap()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_line_that_did_not_come_out_is_named_with_its_place() {
        let asked = definition(
            "CONFIG_NET=y\n\nCONFIG_TUN=y\nCONFIG_TUNN=y\nCONFIG_LOCK=y\nCONFIG_EFI=n\n",
        );
        let whole = definition("CONFIG_NET=y\nCONFIG_TUN=y\nCONFIG_EFI=n\n");
        assert_eq!(found(&whole, "CONFIG_NET=y\nCONFIG_TUN=y\n"), [""; 0]);
        assert_eq!(
            found(&asked, "CONFIG_NET=y\n# CONFIG_TUN is not set\nCONFIG_EFI=y\n"),
            [
                "fragment.config:3: CONFIG_TUN=y is asked for and came out as n; it depends on NET",
                "fragment.config:4: this kernel has no option CONFIG_TUNN",
                "fragment.config:5: CONFIG_LOCK=y is asked for and did not come out; it depends on EFI and on NET",
                "fragment.config:6: CONFIG_EFI=n is asked for and came out as y; another option forces it, or its menu is off",
            ]
        );
    }

    #[test]
    fn a_flaw_is_mended_or_has_a_reason_and_no_reason_stays_behind() {
        let mut definition = definition("");
        assert_eq!(found(&definition, ""), [""; 0]);
        let result = Configuration::parse("CONFIG_MITIGATION_A=y\n").unwrap();
        let findings = judge(&definition, &symbols(), &result);
        assert_eq!(findings, [Finding::Unmitigated { option: "MITIGATION_B".to_owned() }]);
        let off = [("MITIGATION_B", "slow"), ("MITIGATION_C", "gone")];
        definition.mitigations.off =
            off.map(|(option, why)| (option.to_owned(), why.to_owned())).into();
        let findings = judge(&definition, &symbols(), &result);
        assert_eq!(
            findings,
            [Finding::Needless { file: MITIGATIONS, option: "MITIGATION_C".to_owned() }]
        );
        assert!(
            found(&definition, "").iter().any(|text| text.contains("MITIGATION_B, which is none"))
        );
    }

    #[test]
    fn hardening_and_modules_are_held_to() {
        let mut definition = definition("");
        let pair = |option: &str, value: &str| (option.to_owned(), value.to_owned());
        definition.hardening.expected = [pair("NET", "n"), pair("LOK", "n")].into();
        let not_so = NotSo { recommended: "n".to_owned(), because: "we use it".to_owned() };
        definition.hardening.not_so = [("EFI".to_owned(), not_so)].into();
        definition.modules.built_in = [pair("tun", "TUN")].into();
        assert_eq!(
            found(&definition, "CONFIG_NET=y\n"),
            [
                "CONFIG_NET is y; hardening.toml expects n",
                "hardening.toml makes an exception of CONFIG_EFI, which is none: remove it",
                "hardening.toml: this kernel has no option CONFIG_LOK",
                "module tun should be built in by CONFIG_TUN, which is off; see modules.toml",
            ]
        );
    }

    #[test]
    fn a_newer_source_and_newer_tools_are_told_from_a_change_of_ours() {
        let of = |version: &str, compiler: &str, more: &str| {
            let text = format!(
                "#\n# Linux/x86 {version} Kernel Configuration\n#\nCONFIG_CC_VERSION_TEXT=\"{compiler}\"\n{more}"
            );
            Configuration::parse(&text).unwrap()
        };
        let committed = of("6.12.118", "gcc 14.2.0", "");
        assert_eq!(committed.of(), Some("x86 6.12.118"));
        for (other, expected) in [
            (of("6.12.118", "gcc 14.2.0", "CONFIG_NET=y\n"), false),
            (of("6.12.119", "gcc 14.2.0", ""), true),
            (of("6.12.118", "gcc 14.2.1", ""), true),
            (of("6.12.118", "gcc 14.2.0", "CONFIG_LD_VERSION=24500\n"), true),
            (Configuration::default(), true),
        ] {
            assert_eq!(is_of_others(&committed, &other), expected, "{other:?}");
        }
        let nameless = Configuration::default();
        assert!(!is_of_others(&nameless, &nameless));
    }

    #[test]
    fn a_result_that_changed_is_told_line_by_line() {
        let text = |committed: &str, result: &str| -> Vec<String> {
            let committed = Configuration::parse(committed).unwrap();
            let result = Configuration::parse(result).unwrap();
            changes(Some(&committed), &result).iter().map(ToString::to_string).collect()
        };
        assert_eq!(text("# one\nCONFIG_A=y\n", "# two\nCONFIG_A=y\n"), [""; 0]);
        assert_eq!(
            text("CONFIG_A=y\nCONFIG_B=y\n", "# CONFIG_B is not set\nCONFIG_NEW=y\n"),
            [
                "result.config:1: CONFIG_A was y and is absent",
                "result.config:2: CONFIG_B was y and is n",
                "result.config: CONFIG_NEW was absent and is y",
            ]
        );
        assert_eq!(changes(None, &Configuration::default()), [Finding::NoResult]);
    }
}
