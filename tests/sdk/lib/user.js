// A user of somebody's identity provider: tokens signed with a key of this run.

import { createSign, generateKeyPairSync } from 'node:crypto';

const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });

const encoded = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

// The public key as a key set, in base64, as the property `x_user_token.jwks` has it.
export function keySet() {
  const key = { ...publicKey.export({ format: 'jwk' }), kid: 'user-key', alg: 'RS256', use: 'sig' };
  return Buffer.from(JSON.stringify({ keys: [key] })).toString('base64');
}

// A token of the user `jane`, with these claims too.
export function userToken(claims = {}) {
  const now = Math.floor(Date.now() / 1000);
  const payload = {
    iss: 'https://idp.example.com', sub: 'jane', user_name: 'jane', user_id: 'jane-id', email: 'jane@example.com',
    iat: now, exp: now + 3600, ...claims,
  };
  const text = `${encoded({ alg: 'RS256', typ: 'JWT', kid: 'user-key' })}.${encoded(payload)}`;
  return `${text}.${createSign('RSA-SHA256').update(text).sign(privateKey, 'base64url')}`;
}
