//! What is due, pure.

/// Seconds of a day.
pub const DAY: i64 = 86_400;

/// Life of a server certificate.
pub const LEAF_LIFE: i64 = 7 * DAY;

/// Life of an authority.
pub const CA_LIFE: i64 = 365 * DAY;

/// How long a new authority is published before it signs. Kubelets bring a changed ConfigMap to pods within two
/// minutes; an hour also covers a proxy that is started from an old image of its volume, and API servers that cache.
pub const PUBLISH_FIRST: i64 = 3600;

/// From when to when something counts, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// First second.
    pub from: i64,
    /// Last second.
    pub until: i64,
}

impl Life {
    /// Whether less than a third is left.
    pub fn is_nearly_over(self, now: i64) -> bool {
        self.until.saturating_sub(now).saturating_mul(3) < self.until.saturating_sub(self.from)
    }

    /// Whether nothing is left.
    pub fn is_over(self, now: i64) -> bool {
        self.until <= now
    }
}

/// Everything a decision depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The server certificate; none when it is missing, is for other names, or no authority of ours signed it.
    pub leaf: Option<Life>,
    /// The authority that signs.
    pub ca: Life,
    /// The next one, and since when everybody could know it.
    pub next: Option<(Life, Option<i64>)>,
    /// Whether one of the former authorities, which are still trusted, has ended.
    pub former_ended: bool,
}

/// The next step. After it, ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// Nothing is due.
    Keep,
    /// A server certificate, signed by the present authority.
    NewLeaf,
    /// A further authority, which is trusted but does not sign yet.
    NewCa,
    /// The further authority signs from now on, beginning with a server certificate.
    Promote,
    /// The further authority ended before it was used.
    DropNext,
    /// Former authorities that have ended are not trusted any more.
    Forget,
    /// Everything anew: the authority has ended and nobody follows it.
    Afresh,
}

/// Decides.
pub fn renewal(now: i64, facts: Facts) -> Renewal {
    let ca_over = facts.ca.is_over(now);
    match facts.next {
        Some((next, _)) if next.is_over(now) => return Renewal::DropNext,
        // Nobody trusts what an authority at its end has signed, so waiting would help nobody.
        Some(_) if ca_over => return Renewal::Promote,
        Some((_, Some(since))) if now.saturating_sub(since) >= PUBLISH_FIRST => return Renewal::Promote,
        None if ca_over => return Renewal::Afresh,
        None if facts.ca.is_nearly_over(now) => return Renewal::NewCa,
        _ => {}
    }
    if facts.leaf.is_none_or(|leaf| leaf.is_nearly_over(now)) && !leaf_is_as_long_as_can_be(facts) {
        return Renewal::NewLeaf;
    }
    if facts.former_ended {
        return Renewal::Forget;
    }
    Renewal::Keep
}

/// A server certificate that ends with its authority cannot be made longer. Without this it would be made again at
/// every look.
fn leaf_is_as_long_as_can_be(facts: Facts) -> bool {
    facts.leaf.is_some_and(|leaf| leaf.until >= facts.ca.until)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    /// So many days ago until so many days ahead.
    fn life(since: i64, left: i64) -> Life {
        Life {
            from: NOW - since * DAY,
            until: NOW + left * DAY,
        }
    }

    fn facts(leaf: Life, ca: Life) -> Facts {
        Facts {
            leaf: Some(leaf),
            ca,
            next: None,
            former_ended: false,
        }
    }

    #[test]
    fn what_is_due() {
        let good = facts(life(1, 6), life(10, 355));
        let next = |life, since| Facts {
            next: Some((life, since)),
            ..good
        };
        let cases = [
            ("nothing", good, Renewal::Keep),
            (
                "leaf with a third left",
                facts(life(6, 3), life(10, 355)),
                Renewal::Keep,
            ),
            (
                "leaf with less",
                facts(life(5, 2), life(10, 355)),
                Renewal::NewLeaf,
            ),
            ("leaf over", facts(life(8, -1), life(10, 355)), Renewal::NewLeaf),
            ("no leaf", Facts { leaf: None, ..good }, Renewal::NewLeaf),
            (
                "authority with less than a third",
                facts(life(1, 6), life(245, 120)),
                Renewal::NewCa,
            ),
            (
                "authority over",
                facts(life(1, 6), life(366, -1)),
                Renewal::Afresh,
            ),
            ("next not published", next(life(0, 365), None), Renewal::Keep),
            (
                "next just published",
                next(life(0, 365), Some(NOW - 3599)),
                Renewal::Keep,
            ),
            (
                "next published for an hour",
                next(life(0, 365), Some(NOW - 3600)),
                Renewal::Promote,
            ),
            (
                "next over",
                next(life(366, -1), Some(NOW - 400 * DAY)),
                Renewal::DropNext,
            ),
            (
                "authority over, next not published",
                Facts {
                    ca: life(366, -1),
                    ..next(life(1, 364), None)
                },
                Renewal::Promote,
            ),
            (
                "former over",
                Facts {
                    former_ended: true,
                    ..good
                },
                Renewal::Forget,
            ),
            (
                "leaf ends with its authority",
                facts(life(5, 1), life(364, 1)),
                Renewal::NewCa,
            ),
            (
                "and the next one is there",
                Facts {
                    next: Some((life(0, 365), None)),
                    ..facts(life(5, 1), life(364, 1))
                },
                Renewal::Keep,
            ),
        ];
        for (name, facts, expected) in cases {
            assert_eq!(renewal(NOW, facts), expected, "{name}");
        }
    }
}
