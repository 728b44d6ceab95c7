//! `resolv.conf(5)`, read and written.

use std::net::IpAddr;

/// What such a file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ResolvConf {
    /// Who is asked, in this order.
    pub(crate) servers: Vec<IpAddr>,
    /// Domains in which short names are looked for, in this order.
    pub(crate) search: Vec<String>,
}

impl ResolvConf {
    /// Reads a file. What is no address and no known word is left out, as by the C library; of several lists of domains the
    /// last one counts.
    pub(crate) fn parse(text: &str) -> Self {
        let mut file = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    file.servers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok()));
                }
                Some("search" | "domain") => file.search = words.map(str::to_owned).collect(),
                Some(_) | None => {}
            }
        }
        file
    }

    /// The file.
    pub(crate) fn text(&self) -> String {
        let servers = self.servers.iter().map(|server| format!("nameserver {server}\n"));
        let mut text: String = servers.collect();
        if !self.search.is_empty() {
            text.push_str(&format!("search {}\n", self.search.join(" ")));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_the_c_library_does() {
        let text = "# nameserver 1.1.1.1\n; x\nnameserver 10.0.2.3\noptions ndots:5\n\
            search lost\ndomain lost.too\nsearch  a.example\tb.example \nnameserver\nnameserver fd00::3 # x\n\
            nameserver what\n\tnameserver 10.0.0.2\nsearching c\n";
        let file = ResolvConf::parse(text);
        let servers: Vec<String> = file.servers.iter().map(IpAddr::to_string).collect();
        assert_eq!(servers, ["10.0.2.3", "fd00::3", "10.0.0.2"]);
        assert_eq!(file.search, ["a.example", "b.example"]);
        assert_eq!(ResolvConf::parse(&file.text()), file);
        assert_eq!(ResolvConf::parse(""), ResolvConf::default());
        assert_eq!(ResolvConf::default().text(), "");
    }
}
