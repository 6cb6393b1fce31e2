use std::net::SocketAddr;

use super::super::lower::{lower, raise};
use super::*;
use crate::ruleset::Statement;
use crate::settings::Family;

fn every_statement() -> Vec<Statement> {
    let address = |text: &str| -> SocketAddr { text.parse().unwrap() };
    let mut all = vec![
        Statement::Tcp,
        Statement::Destination(address("192.0.2.2:20413")),
        Statement::Destination(address("[2001:db8::2]:20413")),
        Statement::FromBridge,
        Statement::OnLoopback,
        Statement::Mark(0x1b1),
        Statement::User(2102),
        Statement::TransparentSocket,
        Statement::First,
        Statement::NotFirst,
        Statement::SetMark(0x1b2),
        Statement::Untrack,
        Statement::TransparentProxy(address("127.0.0.1:20411")),
        Statement::TransparentProxy(address("[::1]:20411")),
        Statement::Redirect(20411),
        Statement::Accept,
        Statement::Return,
    ];
    for family in Family::ALL {
        all.extend([
            Statement::Is(family),
            Statement::DestinationIn(family),
            Statement::SourceIn(family),
            Statement::NetworkIn(family),
        ]);
    }
    all
}

#[test]
fn every_statement_is_read_as_it_was_written() {
    for statement in every_statement() {
        let expressions = lower(&statement);
        let mut list = Attributes::default();
        for expression in &expressions {
            expression.write(&mut list);
        }
        let read = Expression::read_list(&list.into_bytes());
        assert_eq!(read, expressions, "{statement}");
        assert_eq!(raise(&read), [statement]);
    }
}

#[test]
fn statements_in_a_row_are_told_apart() {
    let all = every_statement();
    let expressions: Vec<Expression> = all.iter().flat_map(lower).collect();
    assert_eq!(raise(&expressions), all);
}

#[test]
fn what_is_not_ours_is_named_and_the_rest_still_read() {
    for (name, other) in [
        ("counter", Expression::Other("counter".to_owned())),
        ("jump", Expression::Verdict(-3)),
        (
            "another register",
            Expression::Payload {
                header: 1,
                offset: 0,
                length: 1,
                register: 3,
            },
        ),
    ] {
        let expressions = [vec![other], lower(&Statement::Accept)].concat();
        let raised = raise(&expressions);
        assert!(matches!(raised[0], Statement::Other(_)), "{name}: {raised:?}");
        assert_eq!(raised[1], Statement::Accept, "{name}");
    }
    // Something that looks like ours but is not: unequal where we say equal, "not in" where we say "in".
    let mut list = Attributes::default();
    list.nested(NFTA_LIST_ELEM, |element| {
        element.name(NFTA_EXPR_NAME, "lookup");
        element.nested(NFTA_EXPR_DATA, |data| {
            data.name(NFTA_LOOKUP_SET, "destinations4");
            data.number(NFTA_LOOKUP_SREG, NFT_REG_1);
            data.number(NFTA_LOOKUP_FLAGS, 1);
        });
    });
    assert_eq!(
        Expression::read_list(&list.into_bytes()),
        [Expression::Other("lookup".to_owned())]
    );
}

/// The bytes of one expression, as a kernel has accepted them from nft(8).
#[test]
fn bytes_are_those_of_the_kernel() {
    let mut list = Attributes::default();
    Expression::Meta {
        key: NFT_META_L4PROTO,
    }
    .write(&mut list);
    let word = |length: u16, kind: u16| [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    let expected = [
        word(36, 0x8001),
        word(9, 1),
        b"meta\0\0\0\0".to_vec(),
        word(20, 0x8002),
        word(8, 2),
        vec![0, 0, 0, 16],
        word(8, 1),
        vec![0, 0, 0, 1],
    ]
    .concat();
    assert_eq!(list.into_bytes(), expected);
}
