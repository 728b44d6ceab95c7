//! Parsing of TOML documents that people write. The disk layout is one of them, so the code is in `layout`.

pub use ferrite_layout::document::{Problem, meant, parse};

#[cfg(test)]
mod tests {
    fn check(text: &str, expected: &str) {
        let problem = crate::unit::parse(text).unwrap_err();
        assert_eq!(problem.to_string(), expected);
    }

    const KNOWN: &str = "expected one of `name`, `image`, `pull`, `entrypoint`, `command`, `args`, `env`, `env_files`, \
                         `secrets`, `user`, `workdir`, `hostname`, `read_only_root`, `tty`, `stdin`, `init`, `privileged`, \
                         `host_user_namespace`, `devices`, `capabilities`, `volumes`, `resources`, `sysctls`, \
                         `ulimits`, `network`, `metadata_service`, `ports`, `restart`, `start_limit`, `oneshot`, `timer`, `after`, \
                         `requires`, `pre_start`, `post_stop`, `stop_signal`, `stop_grace_s`, `health`, `labels`, `replicas`, `placement`";

    #[test]
    fn an_unknown_key_is_placed_and_the_known_one_offered() {
        check(
            "name = \"a\"\nimage = \"b\"\n  comand = []\n",
            "line 3, column 3: unknown field `comand`; did you mean `command`?",
        );
        check(
            "name = \"a\"\nimage = \"b\"\nstop_grace = 3\n",
            "line 3, column 1: unknown field `stop_grace`; did you mean `stop_grace_s`?",
        );
    }

    #[test]
    fn all_keys_are_listed_for_a_word_like_no_other() {
        check("zzz = 1\n", &format!("line 1, column 1: unknown field `zzz`, {KNOWN}"));
    }

    #[test]
    fn an_unknown_value_is_treated_alike() {
        check(
            "name = \"a\"\nimage = \"b\"\nrestart = \"allways\"\n",
            "line 3, column 11: unknown variant `allways`; did you mean `always`?",
        );
    }

    #[test]
    fn columns_count_characters() {
        check(
            "name = \"ä\" oops\n",
            "line 1, column 12: unexpected key or value, expected newline, `#`",
        );
    }

    #[test]
    fn a_missing_key_is_named() {
        check("name = \"a\"\n", "line 1, column 1: missing field `image`");
    }
}
