// Destinations of each kind through the SDK: fetched by name, and their target called.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { getDestination } from '@sap-cloud-sdk/connectivity';
import { executeHttpRequest } from '@sap-cloud-sdk/http-client';

import { key, prepare, world } from '../lib/application.js';
import { said } from '../lib/peers.js';
import { token } from '../lib/store.js';

before(prepare);

const call = async (destinationName, options = {}, request = {}) =>
  (await executeHttpRequest({ destinationName, ...options }, { method: 'get', url: '/orders', ...request })).data;

test('a destination without authentication is called as it is', async () => {
  const destination = await getDestination({ destinationName: 'none' });
  assert.equal(destination.url, `${world.target}/base`);
  assert.equal(destination.authentication, 'NoAuthentication');
  assert.deepEqual(destination.authTokens, []);
  const seen = await call('none');
  assert.equal(seen.url, '/base/orders');
  assert.equal(seen.headers.authorization, undefined);
});

test('basic credentials reach the target', async () => {
  const seen = await call('basic');
  assert.equal(seen.headers.authorization, `Basic ${Buffer.from('wanda:pass:word').toString('base64')}`);
});

test('a token by client credentials reaches the target', async () => {
  const destination = await getDestination({ destinationName: 'client-credentials' });
  const [entry] = destination.authTokens;
  assert.equal(entry.type.toLowerCase(), 'bearer');
  assert.ok(!entry.error, entry.error);
  assert.equal(entry.http_header.key, 'Authorization');
  assert.match(entry.expiresIn, /^\d+$/);
  const seen = await call('client-credentials');
  const { form } = said(seen.headers.authorization.replace(/^Bearer /, ''));
  assert.equal(form.grant_type, 'client_credentials');
});

test('a scope is asked for', async () => {
  const [entry] = (await getDestination({ destinationName: 'client-credentials-scope' })).authTokens;
  assert.equal(said(entry.value).form.scope, 'read write');
});

test('a refused token is an error that the SDK names', async () => {
  const destination = await getDestination({ destinationName: 'refused' });
  assert.equal(destination.authTokens.length, 1);
  assert.ok(destination.authTokens[0].error);
  await assert.rejects(call('refused'));
});

test('additional headers and queries are sent', async () => {
  const seen = await call('decorated', { jwt: await token(key) });
  assert.equal(seen.headers['x-fixed'], 'from the store');
  assert.equal(seen.headers['sap-client'], '100');
  assert.match(seen.url, /^\/base\/orders\?fixed=query$/);
});

test('a token of the caller is forwarded where the destination says so', async () => {
  const jwt = await token(key);
  const seen = await call('decorated', { jwt });
  assert.equal(seen.headers.authorization, `Bearer ${jwt}`);
});

test('a destination that is not there is none', async () => {
  assert.equal(await getDestination({ destinationName: 'nowhere' }), null);
});

test('a body reaches the target', async () => {
  const seen = await call('none', {}, { method: 'post', data: { amount: 5 }, url: '/orders?x=1' });
  assert.deepEqual([seen.method, seen.url, JSON.parse(seen.body)], ['POST', '/base/orders?x=1', { amount: 5 }]);
});
