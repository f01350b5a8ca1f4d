//! Dictionaries, messages between routers, and announcements.

use node::announce::{Announcement, item::Item};
use node::bencode::{Dictionary, Writer};
use node::router::message::Message;

/// Reads `input` as each of them; what is written again is read the same.
pub fn node_messages(input: &[u8]) {
    if let Ok(dictionary) = Dictionary::parse(input)
        && let Some(txid) = dictionary.bytes("txid")
    {
        let mut written = Vec::new();
        Writer::new().bytes("txid", txid).finish(&mut written);
        let again = Dictionary::parse(&written);
        assert_eq!(
            again.ok().and_then(|again| again.bytes("txid").map(<[u8]>::to_vec)),
            Some(txid.to_vec())
        );
    }
    let text = [&[0x10, 0, 1, 0], input].concat();
    let _message = Message::parse(&text);
    if let Ok(announcement) = Announcement::parse(input) {
        let _signer = announcement.signer();
        for item in announcement.items() {
            if let Item::LinkState(state) = item {
                assert!(state.samples().count() <= node::announce::item::SLOTS);
            }
        }
    }
}
