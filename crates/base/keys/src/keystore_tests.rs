use super::*;
use serde_json::json;

// EIP-2335, "Test Cases".
const PASSWORD: &str = "𝔱𝔢𝔰𝔱𝔭𝔞𝔰𝔰𝔴𝔬𝔯𝔡🔑";
const SECRET: &str = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f";
const PUBKEY: &str = "9612d7a727c9d0a22e185a1c768478dfe919cada9266988cb32359c11f2b7b27f4ae4040902382ae2910c15e2b420d07";
const SALT: &str = "d4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3";
const IV: &str = "264daa3f303d7259501c93d997d84fe6";

fn example(kdf: Value, checksum: &str, message: &str) -> Value {
    json!({
        "crypto": {
            "kdf": kdf,
            "checksum": { "function": "sha256", "params": {}, "message": checksum },
            "cipher": { "function": "aes-128-ctr", "params": { "iv": IV }, "message": message }
        },
        "description": "a test", "pubkey": PUBKEY, "path": "m/12381/60/3141592653/589793238",
        "uuid": "1d85ae20-35c5-4611-98e8-aa14a633906f", "version": 4
    })
}
fn scrypt_example() -> Value {
    example(
        json!({ "function": "scrypt", "message": "", "params": { "dklen": 32, "n": 262144, "p": 1, "r": 8, "salt": SALT } }),
        "d2217fe5f3e9a1e34581ef8a78f7c9928e436d36dacc5e846690a5581e8ea484",
        "06ae90d55fe0a6e9c5c3bc5b170827b2e5cce3929ed3f116c2811e6366dfe20f",
    )
}
fn pbkdf2_example() -> Value {
    example(
        json!({ "function": "pbkdf2", "message": "", "params": { "dklen": 32, "c": 262144, "prf": "hmac-sha256", "salt": SALT } }),
        "8a9f5d9912ed7e75ea794bc5a89bca5f193721d30868ade6f73043c6ea6febf1",
        "cee03fde2af33149775b7223e7845e4fb2c8ae1792e5f99fe9ecf474cc8c16ad",
    )
}
fn parse(v: &Value) -> Result<Keystore, KeysError> {
    Keystore::parse(v.to_string().as_bytes())
}

#[test]
fn both_of_eip2335s_examples_open_and_are_written_to_the_same_bytes() {
    for (example, kdf) in [
        (scrypt_example(), Kdf::Scrypt { n: 262144, r: 8, p: 1, salt: hex::decode(SALT).unwrap() }),
        (pbkdf2_example(), Kdf::Pbkdf2 { c: 262144, salt: hex::decode(SALT).unwrap() }),
    ] {
        let key = parse(&example).unwrap().decrypt(PASSWORD).unwrap();
        assert_eq!(hex::encode(*key.to_bytes()), SECRET);
        let iv = hex::decode(IV).unwrap().try_into().unwrap();
        let written = Keystore::encrypt_with(&key, PASSWORD, "m/12381/60/3141592653/589793238", &kdf, &iv).unwrap();
        let written: Value = serde_json::from_str(&written.to_json().unwrap()).unwrap();
        assert_eq!(written["crypto"], example["crypto"]);
        assert_eq!(
            (&written["pubkey"], &written["path"], &written["version"]),
            (&example["pubkey"], &example["path"], &example["version"])
        );
    }
}

#[test]
fn the_password_is_normalised_and_its_control_characters_dropped() {
    let ks = parse(&pbkdf2_example()).unwrap();
    // The fancy letters are compatibility forms of plain ones.
    for same in ["testpassword🔑", "testpassword🔑\n", "test\u{7f}pass\u{80}word🔑\r\n"] {
        assert!(ks.decrypt(same).is_ok(), "{same:?}");
    }
    for other in ["", "testpassword", "Testpassword🔑", "testpassword🔑 "] {
        assert!(matches!(ks.decrypt(other), Err(KeysError::WrongPassword)), "{other:?}");
    }
}

#[test]
fn a_keystore_that_says_another_public_key_is_refused() {
    let mut v = pbkdf2_example();
    v["pubkey"] = PUBKEY.replace("9612", "9613").into();
    assert!(matches!(parse(&v).unwrap().decrypt(PASSWORD), Err(KeysError::WrongPublicKey { .. })));
}

#[test]
fn parameters_that_cost_too_much_or_too_little_are_refused_before_any_work() {
    for (base, pointer, bad) in [
        (scrypt_example(), "/crypto/kdf/params/n", json!(1u64 << 24)),
        (scrypt_example(), "/crypto/kdf/params/n", json!(262143)),
        (scrypt_example(), "/crypto/kdf/params/n", json!(u64::MAX)),
        (scrypt_example(), "/crypto/kdf/params/r", json!(65)),
        (scrypt_example(), "/crypto/kdf/params/p", json!(17)),
        (scrypt_example(), "/crypto/kdf/params/p", json!(0)),
        (scrypt_example(), "/crypto/kdf/params/dklen", json!(64)),
        (pbkdf2_example(), "/crypto/kdf/params/c", json!(u32::MAX)),
        (pbkdf2_example(), "/crypto/kdf/params/c", json!(1)),
    ] {
        let mut v = base;
        *v.pointer_mut(pointer).unwrap() = bad.clone();
        let e = parse(&v).unwrap().decrypt(PASSWORD).unwrap_err();
        assert!(matches!(e, KeysError::Parameter { .. }), "{pointer} {bad}: {e}");
    }
}

#[test]
fn malformed_keystores_are_refused() {
    for (pointer, bad) in [
        ("/version", json!(3)),
        ("/version", json!("4")),
        ("/crypto/kdf/function", json!("argon2")),
        ("/crypto/kdf/params/salt", json!("xyz")),
        ("/crypto/kdf/params/salt", json!("00".repeat(257))),
        ("/crypto/kdf/params/prf", json!("hmac-sha512")),
        ("/crypto/cipher/function", json!("xor")),
        ("/crypto/cipher/params/iv", json!("00")),
        ("/crypto/cipher/message", json!("00".repeat(31))),
        ("/crypto/cipher/message", json!("00".repeat(33))),
        ("/crypto/checksum/function", json!("md5")),
    ] {
        let mut v = pbkdf2_example();
        *v.pointer_mut(pointer).unwrap() = bad;
        assert!(parse(&v).and_then(|k| k.decrypt(PASSWORD)).is_err(), "{pointer}");
    }
    assert!(Keystore::parse(&vec![b' '; (64 << 10) + 1]).is_err());
    // A password file given by mistake is not quoted.
    let e = Keystore::parse(b"\"hunter2\"").unwrap_err();
    assert!(!e.to_string().contains("hunter2") && !format!("{e:?}").contains("hunter2"), "{e}");
}

#[test]
fn what_was_written_is_read_again_and_never_shows_the_secret() {
    let key = BlsSecretKey::generate().unwrap();
    let secret = hex::encode(*key.to_bytes());
    let ks = Keystore::encrypt(&key, "pass", "m/12381/3600/0/0/0", &Kdf::weak_for_development().unwrap()).unwrap();
    let json = ks.to_json().unwrap();
    assert!(!json.contains(&secret) && !format!("{ks:?}{key:?}").contains(&secret));
    let back = Keystore::parse(json.as_bytes()).unwrap().decrypt("pass").unwrap();
    assert_eq!(back.public_key(), key.public_key());
}
