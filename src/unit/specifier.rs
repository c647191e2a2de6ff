//! Specifiers: `%n %i …` in the values of options, given what they stand for.
//!
//! systemd's list is that of systemd.unit(5). fleet has four of its own meaning, for `[X-Fleet]` only.

use super::name::UnitName;

/// What systemd's specifiers stand for on one machine, for one unit and user. Empty where it is unknown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Specifiers {
    /// The unit's full name: `%n %N %p %P %i %I %j %J %f` come from it.
    pub unit: String,
    /// `%H`; `%l` is it up to the first dot.
    pub hostname: String,
    /// `%m`
    pub machine_id: String,
    /// `%b`
    pub boot_id: String,
    /// `%v`, as `uname -r`.
    pub kernel_release: String,
    /// `%a`, for example `x86-64`.
    pub architecture: String,
    /// `%u`, the user that the node runs as.
    pub user: String,
    /// `%U`
    pub uid: String,
    /// `%g`
    pub group: String,
    /// `%G`
    pub gid: String,
    /// `%h`
    pub home: String,
    /// `%s`
    pub shell: String,
    /// `%t`: `/run`, or `$XDG_RUNTIME_DIR`.
    pub runtime_dir: String,
    /// `%S`
    pub state_dir: String,
    /// `%C`
    pub cache_dir: String,
    /// `%L`
    pub logs_dir: String,
    /// `%E`
    pub config_dir: String,
    /// `%T`
    pub tmp_dir: String,
    /// `%V`
    pub var_tmp_dir: String,
    /// `%d`
    pub credentials_dir: String,
    /// `%y`; `%Y` is its directory.
    pub unit_path: String,
    /// `%o`, `ID=` of os-release.
    pub os_id: String,
    /// `%w`, `VERSION_ID=`.
    pub os_version_id: String,
    /// `%W`, `VARIANT_ID=`.
    pub os_variant_id: String,
    /// `%B`, `BUILD_ID=`.
    pub os_build_id: String,
    /// `%M`, `IMAGE_ID=`.
    pub os_image_id: String,
    /// `%A`, `IMAGE_VERSION=`.
    pub os_image_version: String,
}

/// Why a value's specifiers cannot be replaced.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("%{specifier} of unit {unit}: {text:?} does not unescape to UTF-8 text")]
pub struct SpecifierError {
    pub specifier: char,
    pub unit: String,
    pub text: String,
}

impl Specifiers {
    /// The specifiers of a system service of this unit; the directories are those of the system.
    pub fn system(unit: &str) -> Self {
        let text = str::to_owned;
        Self {
            unit: text(unit),
            user: text("root"),
            uid: text("0"),
            group: text("root"),
            gid: text("0"),
            home: text("/root"),
            shell: text("/bin/sh"),
            runtime_dir: text("/run"),
            state_dir: text("/var/lib"),
            cache_dir: text("/var/cache"),
            logs_dir: text("/var/log"),
            config_dir: text("/etc"),
            tmp_dir: text("/tmp"),
            var_tmp_dir: text("/var/tmp"),
            ..Self::default()
        }
    }

    /// Replaces every specifier; `%%` is a percent sign, an unknown one stays as written.
    ///
    /// # Errors
    /// Where `%I %P %J %f` unescape to bytes that are no text.
    pub fn expand(&self, value: &str) -> Result<String, SpecifierError> {
        let mut out = String::with_capacity(value.len());
        let mut rest = value;
        while let Some(at) = rest.find('%') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            let Some(c) = rest.chars().next() else {
                out.push('%');
                break;
            };
            rest = &rest[c.len_utf8()..];
            match self.value(c)? {
                Some(replacement) => out.push_str(&replacement),
                None => out.extend(['%', c]),
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    fn value(&self, c: char) -> Result<Option<String>, SpecifierError> {
        let known = match c {
            '%' => "%",
            'H' => &self.hostname,
            'l' => self.hostname.split('.').next().unwrap_or(""),
            'm' => &self.machine_id,
            'b' => &self.boot_id,
            'v' => &self.kernel_release,
            'a' => &self.architecture,
            'u' => &self.user,
            'U' => &self.uid,
            'g' => &self.group,
            'G' => &self.gid,
            'h' => &self.home,
            's' => &self.shell,
            't' => &self.runtime_dir,
            'S' => &self.state_dir,
            'C' => &self.cache_dir,
            'L' => &self.logs_dir,
            'E' => &self.config_dir,
            'T' => &self.tmp_dir,
            'V' => &self.var_tmp_dir,
            'd' => &self.credentials_dir,
            'y' => &self.unit_path,
            'Y' => self.unit_path.rsplit_once('/').map_or("", |(dir, _)| dir),
            'o' => &self.os_id,
            'w' => &self.os_version_id,
            'W' => &self.os_variant_id,
            'B' => &self.os_build_id,
            'M' => &self.os_image_id,
            'A' => &self.os_image_version,
            _ => return self.of_name(c),
        };
        Ok(Some(known.to_owned()))
    }

    fn of_name(&self, c: char) -> Result<Option<String>, SpecifierError> {
        let name = UnitName::new(&self.unit);
        let instance = name.instance.unwrap_or("");
        let last_part = name.prefix.rsplit('-').next().unwrap_or(name.prefix);
        let plain = match c {
            'n' => name.full,
            'N' => name.stem,
            'p' => name.prefix,
            'i' => instance,
            'j' => last_part,
            'P' => return self.unescaped(c, name.prefix),
            'I' => return self.unescaped(c, instance),
            'J' => return self.unescaped(c, last_part),
            'f' => return self.path(if instance.is_empty() { name.prefix } else { instance }),
            _ => return Ok(None),
        };
        Ok(Some(plain.to_owned()))
    }

    fn unescaped(&self, specifier: char, text: &str) -> Result<Option<String>, SpecifierError> {
        let error = || SpecifierError { specifier, unit: self.unit.clone(), text: text.to_owned() };
        unescape(text).map(Some).ok_or_else(error)
    }

    /// An escaped path is without its first slash; `-` alone is the root.
    fn path(&self, text: &str) -> Result<Option<String>, SpecifierError> {
        let path = self.unescaped('f', text)?;
        let with_root = |p: String| if p.starts_with('/') { p } else { format!("/{p}") };
        Ok(path.map(with_root))
    }
}

/// Undoes systemd's escaping of names: `-` is `/`, `\xHH` a byte. `None` for a broken escape or bytes that are no UTF-8.
pub fn unescape(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'-' => out.push(b'/'),
            b'\\' => {
                let hex = text.get(at + 1..at + 4)?.strip_prefix('x')?;
                let digits = hex.bytes().all(|b| b.is_ascii_hexdigit());
                out.push(u8::from_str_radix(hex, 16).ok().filter(|_| digits)?);
                at += 3;
            }
            other => out.push(other),
        }
        at += 1;
    }
    String::from_utf8(out).ok()
}

/// fleet's own four, for values in `[X-Fleet]`: `%n %N %p %i`, replaced in that order as plain strings; no `%%`.
pub fn fleet(value: &str, unit: &str) -> String {
    let name = UnitName::new(unit);
    value
        .replace("%n", name.full)
        .replace("%N", name.stem)
        .replace("%p", name.prefix)
        .replace("%i", name.instance.unwrap_or(""))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn systemds_specifiers() {
        let values = Specifiers {
            hostname: "n1.example.org".into(),
            machine_id: "m".repeat(32),
            boot_id: "b0".into(),
            ..Specifiers::system("foo-bar@var-lib\\x2dx.service")
        };
        let cases = [
            ("%n|%N", "foo-bar@var-lib\\x2dx.service|foo-bar@var-lib\\x2dx"),
            ("%p|%P|%j", "foo-bar|foo/bar|bar"),
            ("%i|%I|%f", "var-lib\\x2dx|var/lib-x|/var/lib-x"),
            ("%H %l", "n1.example.org n1"),
            ("%b%%%q%", "b0%%q%"),
            ("%t%S%C%L%E%T%V", "/run/var/lib/var/cache/var/log/etc/tmp/var/tmp"),
            ("%u%U%h%s", "root0/root/bin/sh"),
            ("date +%%s é%i", "date +%s évar-lib\\x2dx"),
        ];
        for (value, expected) in cases {
            assert_eq!(values.expand(value).unwrap(), expected, "{value}");
        }
        let plain = Specifiers::system("a-b.service");
        assert_eq!(plain.expand("%i|%I|%f|%p").unwrap(), "||/a/b|a-b");
        let broken = Specifiers::system("a@\\xzz.service");
        assert!(broken.expand("%I").is_err());
        assert_eq!(broken.expand("%i").unwrap(), "\\xzz");
    }

    #[test]
    fn b_fleets_specifiers_are_plain_replacement() {
        let cases = [
            ("hostname=%i", "a@n1.service", "hostname=n1"),
            ("app@%i.service", "web@7.service", "app@7.service"),
            ("%n %N %p %%i %H", "a@b.service", "a@b.service a@b a %b %H"),
            ("%p-%i", "a.service", "a-"),
        ];
        for (value, unit, expected) in cases {
            assert_eq!(fleet(value, unit), expected);
        }
    }
}
