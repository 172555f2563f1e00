//! The names of the commands, and what is particular about some of them.

use super::frame::MAX_NAME;
use bytes::Bytes;
use pixie_core::Text;

/// The commands of Redis 7.2, 8 and Valkey 8 by the length of their names; common ones first.
const KNOWN: &[&[&str]] = &[
    &[],
    &[],
    &[],
    &["GET", "SET", "DEL", "TTL", "ACL", "LCS"],
    &[
        "INCR", "HGET", "HSET", "PING", "MGET", "EVAL", "EXEC", "SADD", "ZADD", "LPOP", "RPOP",
        "DECR", "HDEL", "TYPE", "MSET", "LLEN", "SREM", "ZREM", "SCAN", "XADD", "XACK", "SPOP",
        "INFO", "ECHO", "AUTH", "KEYS", "PTTL", "LREM", "LSET", "HLEN", "COPY", "DUMP", "LPOS",
        "MOVE", "QUIT", "ROLE", "SAVE", "SORT", "SYNC", "TIME", "WAIT", "XDEL", "XLEN", "HTTL",
        "VADD", "VDIM", "VEMB", "VREM", "VSIM",
    ],
    &[
        "LPUSH", "RPUSH", "SETEX", "MULTI", "HMGET", "HMSET", "BLPOP", "BRPOP", "SETNX", "WATCH",
        "SCARD", "ZCARD", "XREAD", "HSCAN", "SSCAN", "ZSCAN", "TOUCH", "LTRIM", "HVALS", "HKEYS",
        "GETEX", "HELLO", "PSYNC", "RESET", "FCALL", "BITOP", "DEBUG", "LMOVE", "LMPOP", "PFADD",
        "SDIFF", "SMOVE", "XINFO", "XTRIM", "ZDIFF", "ZMPOP", "ZRANK", "HPTTL", "VCARD", "VINFO",
    ],
    &[
        "EXISTS", "EXPIRE", "LRANGE", "ZRANGE", "INCRBY", "DECRBY", "UNLINK", "SELECT", "CLIENT",
        "CONFIG", "STRLEN", "APPEND", "GETSET", "GETDEL", "PSETEX", "ZSCORE", "ZCOUNT", "HSETNX",
        "SINTER", "SUNION", "LINDEX", "SETBIT", "GETBIT", "XRANGE", "XGROUP", "XCLAIM", "RENAME",
        "SCRIPT", "OBJECT", "MEMORY", "MODULE", "PUBSUB", "DBSIZE", "GEOADD", "GEOPOS", "ASKING",
        "BGSAVE", "BITPOS", "BLMOVE", "BLMPOP", "BZMPOP", "LOLWUT", "LPUSHX", "MSETNX", "RPUSHX",
        "SUBSTR", "SWAPDB", "XSETID", "ZINTER", "ZUNION", "HGETEX", "HSETEX", "VLINKS", "XDELEX",
    ],
    &[
        "HGETALL", "HEXISTS", "HINCRBY", "EVALSHA", "PUBLISH", "PEXPIRE", "COMMAND", "CLUSTER",
        "ZINCRBY", "UNWATCH", "DISCARD", "MONITOR", "PERSIST", "FLUSHDB", "EVAL_RO", "GEODIST",
        "GEOHASH", "HSTRLEN", "LATENCY", "LINSERT", "MIGRATE", "PFCOUNT", "PFDEBUG", "PFMERGE",
        "RESTORE", "SLAVEOF", "SLOWLOG", "SORT_RO", "ZMSCORE", "ZPOPMAX", "ZPOPMIN", "WAITAOF",
        "HEXPIRE", "HGETDEL", "XACKDEL",
    ],
    &[
        "SMEMBERS", "EXPIREAT", "GETRANGE", "SETRANGE", "FLUSHALL", "FUNCTION", "READONLY",
        "REPLCONF", "XPENDING", "BZPOPMAX", "BZPOPMIN", "BITCOUNT", "BITFIELD", "FAILOVER",
        "FCALL_RO", "LASTSAVE", "RENAMENX", "SHUTDOWN", "SPUBLISH", "ZREVRANK", "SENTINEL",
        "HPERSIST", "HPEXPIRE",
    ],
    &[
        "SISMEMBER",
        "SUBSCRIBE",
        "ZREVRANGE",
        "RPOPLPUSH",
        "PEXPIREAT",
        "XREVRANGE",
        "RANDOMKEY",
        "GEORADIUS",
        "GEOSEARCH",
        "READWRITE",
        "REPLICAOF",
        "ZLEXCOUNT",
        "HEXPIREAT",
    ],
    &[
        "SMISMEMBER",
        "PSUBSCRIBE",
        "SSUBSCRIBE",
        "XREADGROUP",
        "XAUTOCLAIM",
        "BRPOPLPUSH",
        "EVALSHA_RO",
        "EXPIRETIME",
        "HRANDFIELD",
        "PFSELFTEST",
        "SDIFFSTORE",
        "SINTERCARD",
        "ZDIFFSTORE",
        "ZINTERCARD",
        "HPEXPIREAT",
    ],
    &[
        "INCRBYFLOAT",
        "UNSUBSCRIBE",
        "SRANDMEMBER",
        "SUNIONSTORE",
        "SINTERSTORE",
        "ZUNIONSTORE",
        "ZINTERSTORE",
        "ZRANDMEMBER",
        "ZRANGEBYLEX",
        "ZRANGESTORE",
        "BITFIELD_RO",
        "PEXPIRETIME",
        "HEXPIRETIME",
    ],
    &[
        "PUNSUBSCRIBE",
        "SUNSUBSCRIBE",
        "HINCRBYFLOAT",
        "BGREWRITEAOF",
        "GEORADIUS_RO",
        "HPEXPIRETIME",
    ],
    &["ZRANGEBYSCORE"],
    &["ZREVRANGEBYLEX", "ZREMRANGEBYLEX", "GEOSEARCHSTORE", "RESTORE-ASKING"],
    &["ZREMRANGEBYRANK"],
    &["ZREVRANGEBYSCORE", "ZREMRANGEBYSCORE"],
    &["GEORADIUSBYMEMBER"],
    &[],
    &[],
    &["GEORADIUSBYMEMBER_RO"],
];

/// What the names of the commands of Redis's own modules begin with.
const MODULES: &[&str] =
    &["FT.", "JSON.", "BF.", "CF.", "CMS.", "TOPK.", "TS.", "TDIGEST.", "GRAPH.", "AI."];

/// Commands that no other protocol of lines has: by these, one that is sent inline is recognised.
const UNMISTAKABLE: &[&str] = &[
    "LPUSH",
    "RPUSH",
    "LRANGE",
    "LLEN",
    "SADD",
    "SMEMBERS",
    "SISMEMBER",
    "SCARD",
    "ZADD",
    "ZRANGE",
    "ZSCORE",
    "ZCARD",
    "HSET",
    "HGET",
    "HGETALL",
    "HDEL",
    "HINCRBY",
    "INCRBY",
    "DECRBY",
    "SETEX",
    "SETNX",
    "MGET",
    "MSET",
    "PEXPIRE",
    "PTTL",
    "GETSET",
    "DBSIZE",
    "FLUSHALL",
    "FLUSHDB",
    "XADD",
    "XRANGE",
    "XLEN",
    "BLPOP",
    "BRPOP",
    "BGSAVE",
    "PSYNC",
    "REPLCONF",
    "EVALSHA",
    "STRLEN",
];

/// The name in upper case, when it is that of a known command.
pub(super) fn known(name: &[u8]) -> Option<&'static str> {
    let same_length = KNOWN.get(name.len())?;
    same_length.iter().find(|known| name.eq_ignore_ascii_case(known.as_bytes())).copied()
}

/// The name in upper case.
pub(super) fn upper_case(name: &[u8]) -> Text {
    match known(name) {
        Some(known) => Text::from_bytes(Bytes::from_static(known.as_bytes())),
        None => Text::from_bytes(name.get(..MAX_NAME).unwrap_or(name).to_ascii_uppercase()),
    }
}

/// Whether this is the name of a command, without doubt.
pub(super) fn is_known(name: &[u8]) -> bool {
    let of_module = |prefix: &&str| {
        name.split_at_checked(prefix.len())
            .is_some_and(|(start, _)| start.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    known(name).is_some() || MODULES.iter().any(of_module)
}

/// Whether a command of this name can have so many strings, itself included. An answer may begin
/// with the same word, `save` as the name of a setting, say.
pub(super) fn can_have(name: &[u8], strings: u64) -> bool {
    let Some(name) = known(name) else { return true };
    match name {
        "SAVE" | "TIME" | "ROLE" | "EXEC" | "MULTI" | "DISCARD" | "UNWATCH" | "MONITOR"
        | "DBSIZE" | "RANDOMKEY" | "LASTSAVE" | "SYNC" => strings == 1,
        "GET" | "TTL" | "PTTL" | "TYPE" | "KEYS" | "ECHO" | "DUMP" | "INCR" | "DECR" | "SELECT"
        | "STRLEN" | "PERSIST" | "LLEN" | "HLEN" | "SCARD" | "ZCARD" | "XLEN" | "HGETALL"
        | "HKEYS" | "HVALS" | "SMEMBERS" | "GETDEL" => strings == 2,
        "MOVE" | "RENAME" | "APPEND" | "GETSET" | "PUBLISH" | "HGET" | "INCRBY" | "DECRBY"
        | "SETNX" => strings == 3,
        "SET" | "SADD" | "SREM" | "LPUSH" | "RPUSH" => strings >= 3,
        "HSET" | "ZADD" | "SETEX" | "LRANGE" | "ZRANGE" | "RESTORE" => strings >= 4,
        "DEL" | "EXISTS" | "TOUCH" | "MGET" | "UNLINK" | "SORT" | "SCAN" | "OBJECT" | "DEBUG"
        | "CLUSTER" | "CLIENT" | "CONFIG" | "SCRIPT" | "MEMORY" | "MODULE" => strings >= 2,
        _ => true,
    }
}

/// Whether this is the start of a name in `UNMISTAKABLE`, or one.
pub(super) fn unmistakable(name: &[u8], is_whole: bool) -> bool {
    UNMISTAKABLE.iter().any(|command| match is_whole {
        true => command.as_bytes().eq_ignore_ascii_case(name),
        false => command
            .as_bytes()
            .get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name)),
    })
}

/// What is particular about a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Effect {
    /// It has one answer.
    #[default]
    None,
    /// It has a confirmation for each of its arguments.
    Subscription,
    /// Every command is told of from then on.
    Monitor,
    /// The stream of a replica follows its answer.
    Replicate,
    /// The same without an answer (`SYNC`).
    ReplicateAtOnce,
    /// Whether there are answers changes: `CLIENT REPLY`.
    Reply(Reply),
}

/// The argument of `CLIENT REPLY`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    On,
    Off,
    Skip,
}

/// What is particular about a command, by its name in upper case and its first two arguments.
#[inline]
pub(super) fn effect(name: &[u8], arguments: [&[u8]; 2]) -> Effect {
    match name {
        b"SUBSCRIBE" | b"PSUBSCRIBE" | b"SSUBSCRIBE" | b"UNSUBSCRIBE" | b"PUNSUBSCRIBE"
        | b"SUNSUBSCRIBE" => Effect::Subscription,
        b"MONITOR" => Effect::Monitor,
        b"PSYNC" => Effect::Replicate,
        b"SYNC" => Effect::ReplicateAtOnce,
        b"CLIENT" if arguments[0].eq_ignore_ascii_case(b"REPLY") => {
            let is = |word: &[u8]| arguments[1].eq_ignore_ascii_case(word);
            match () {
                () if is(b"ON") => Effect::Reply(Reply::On),
                () if is(b"OFF") => Effect::Reply(Reply::Off),
                () if is(b"SKIP") => Effect::Reply(Reply::Skip),
                () => Effect::None,
            }
        }
        _ => Effect::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_listed_by_their_length() {
        for (length, names) in KNOWN.iter().enumerate() {
            for name in *names {
                // A name in the wrong row would never be found.
                if known(name.as_bytes()).is_none() {
                    panic!("{name} is not among those of {length} letters");
                }
            }
        }
        assert!(UNMISTAKABLE.iter().all(|name| known(name.as_bytes()).is_some()));
    }

    #[test]
    fn names_are_known_in_any_case() {
        assert_eq!(upper_case(b"hgetall"), "HGETALL");
        assert_eq!(upper_case(b"my.own"), "MY.OWN");
        assert!(is_known(b"json.get") && !is_known(b"my.own") && !is_known(b""));
    }

    #[test]
    fn the_effects_of_commands_are_known() {
        let none: &[u8] = b"";
        assert_eq!(effect(b"CLIENT", [b"reply", b"off"]), Effect::Reply(Reply::Off));
        assert_eq!(effect(b"CLIENT", [b"REPLY", b"else"]), Effect::None);
        assert_eq!(effect(b"CLIENT", [b"SETNAME", b"off"]), Effect::None);
        assert_eq!(effect(b"SUNSUBSCRIBE", [none; 2]), Effect::Subscription);
        assert_eq!(effect(b"GET", [b"REPLY", b"OFF"]), Effect::None);
    }
}
