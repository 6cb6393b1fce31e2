// Kinds of destinations that speak for a user, and those that need more than the client.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { getDestination } from '@sap-cloud-sdk/connectivity';
import { executeHttpRequest } from '@sap-cloud-sdk/http-client';

import { prepare, world } from '../lib/application.js';
import { said } from '../lib/peers.js';

before(prepare);

// The token that reached the target, as its token service describes it.
async function token(destinationName, options = {}) {
  const { data } = await executeHttpRequest({ destinationName, useCache: false, ...options }, { method: 'get' });
  return said(data.headers.authorization.replace(/^Bearer /, ''));
}

test('OAuth2Password sends the technical user', async () => {
  const { form } = await token('password');
  assert.deepEqual([form.grant_type, form.username, form.password], ['password', 'wanda', 'her password']);
});

test('OAuth2RefreshToken sends the refresh token of the caller', async () => {
  const { form } = await token('refresh', { refreshToken: 'kept-by-the-caller' });
  assert.deepEqual([form.grant_type, form.refresh_token], ['refresh_token', 'kept-by-the-caller']);
});

test('OAuth2JWTBearer exchanges the token of the user', async () => {
  const { form } = await token('jwt-bearer', { jwt: world.users.jane });
  assert.equal(form.grant_type, 'urn:ietf:params:oauth:grant-type:jwt-bearer');
  assert.equal(form.assertion, world.users.jane);
});

test('OAuth2UserTokenExchange exchanges the token of the user', async () => {
  const { form } = await token('exchange', { jwt: world.users.jane });
  assert.deepEqual([form.grant_type, form.refresh_token], ['refresh_token', `of ${world.users.jane}`]);
});

test('OAuth2SAMLBearerAssertion sends a signed assertion about the user', async () => {
  const { form } = await token('saml-bearer', { jwt: world.users.jane });
  assert.equal(form.grant_type, 'urn:ietf:params:oauth:grant-type:saml2-bearer');
  const assertion = Buffer.from(form.assertion, 'base64url').toString('utf8');
  assert.match(assertion, /<(\w+:)?NameID[^>]*>jane</);
  assert.match(assertion, /SignatureValue/);
  assert.match(assertion, /https:\/\/target\.example\.com/);
});

test('SAMLAssertion sends the assertion itself', async () => {
  const options = { destinationName: 'saml-assertion', useCache: false, jwt: world.users.jane };
  const { data } = await executeHttpRequest(options, { method: 'get' });
  const [, assertion] = data.headers.authorization.match(/^SAML2\.0 (.*)$/);
  assert.match(Buffer.from(assertion, 'base64').toString('utf8'), /^<\?xml/);
  assert.equal(data.headers['x-sap-security-session'], 'create');
});

test('without a user the SDK does not ask', async () => {
  await assert.rejects(getDestination({ destinationName: 'jwt-bearer' }), /No user token/);
});

test('a forged token of a user is refused by the store', async () => {
  const options = { destinationName: 'jwt-bearer', jwt: world.users.forged, useCache: false };
  const outcome = await getDestination(options).then((found) => found.authTokens[0].error, (error) => error.message);
  assert.ok(outcome, 'an error');
  await assert.rejects(token('jwt-bearer', { jwt: world.users.forged }));
});
