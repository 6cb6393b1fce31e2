// Tokens of the store, fetched and verified by the library of the original service.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { serviceToken } from '@sap-cloud-sdk/connectivity';
import xssec from '@sap/xssec';

import { key } from '../lib/application.js';
import { token } from '../lib/store.js';

const { XsuaaService, errors } = xssec;

test('a service key is one that the library can use', () => {
  for (const entry of ['clientid', 'clientsecret', 'url', 'uri', 'uaadomain', 'xsappname', 'identityzone', 'tenantid']) {
    assert.equal(typeof key[entry], 'string', `${entry} of the service key`);
  }
});

test('the library gets a token and verifies its signature, life and audience', async () => {
  const service = new XsuaaService(key);
  const { access_token } = await service.fetchClientCredentialsToken();
  const context = await service.createSecurityContext(access_token);
  assert.equal(context.token.zid, key.tenantid);
  assert.equal(context.getClientId(), key.clientid);
  assert.equal(context.token.subAccountId, key.tenantid);
});

test('a token of the SDK is one of the tenant', async () => {
  const context = await new XsuaaService(key).createSecurityContext(await serviceToken('destination'));
  assert.equal(context.token.zid, key.tenantid);
});

test('a changed token is refused', async () => {
  const [head, payload, signature] = (await token(key)).split('.');
  const claims = { ...JSON.parse(Buffer.from(payload, 'base64url')), zid: key.tenantid, sub: 'someone else' };
  const changed = [head, Buffer.from(JSON.stringify(claims)).toString('base64url'), signature].join('.');
  await assert.rejects(
    new XsuaaService(key).createSecurityContext(changed),
    (error) => error instanceof errors.InvalidTokenSignatureError || error.name === 'InvalidTokenSignatureError',
  );
});

test('a token for another audience is refused', async () => {
  const other = new XsuaaService({ ...key, clientid: 'sb-other', xsappname: 'other' });
  await assert.rejects(other.createSecurityContext(await token(key)), (error) => error.name === 'WrongAudienceError');
});
