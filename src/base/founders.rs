//! The list of a cluster's first members, as settings and command lines have it: `name=url`, separated by commas.

/// A list taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Founders {
    /// Names with their URLs, in the order of their first mention.
    pub members: Vec<(String, Vec<String>)>,
    /// Items that are not `name=url`.
    pub strange: Vec<String>,
}

impl Founders {
    pub fn parse(list: &str) -> Self {
        let mut founders = Self::default();
        for item in list.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let Some((name, url)) = item.split_once('=') else {
                founders.strange.push(item.to_owned());
                continue;
            };
            match founders.members.iter_mut().find(|(known, _)| known == name) {
                Some((_, urls)) => urls.push(url.to_owned()),
                None => founders.members.push((name.to_owned(), vec![url.to_owned()])),
            }
        }
        founders
    }

    /// Every URL.
    pub fn urls(&self) -> impl Iterator<Item = &str> {
        self.members.iter().flat_map(|(_, urls)| urls).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_and_their_urls() {
        let founders = Founders::parse("b=http://h:2, a=http://h:1,b=http://h:3,,h:4");
        let member = |name: &str, urls: &[&str]| (name.to_owned(), urls.iter().map(|url| (*url).to_owned()).collect());
        assert_eq!(founders.members, [member("b", &["http://h:2", "http://h:3"]), member("a", &["http://h:1"])]);
        assert_eq!(founders.strange, ["h:4"]);
        assert_eq!(founders.urls().count(), 3);
    }
}
