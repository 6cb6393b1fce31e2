// Levels and tenants: which destination the strategies of the SDK select.

import assert from 'node:assert/strict';
import { before, test } from 'node:test';

import { alwaysProvider, alwaysSubscriber, getDestination, subscriberFirst } from '@sap-cloud-sdk/connectivity';

import { key, prepare } from '../lib/application.js';
import { token } from '../lib/store.js';

before(prepare);

for (const selectionStrategy of [alwaysProvider, alwaysSubscriber, subscriberFirst]) {
  test(`with a token of the provider, ${selectionStrategy.name} finds its destination`, async () => {
    const options = { destinationName: 'basic', jwt: await token(key), selectionStrategy, useCache: false };
    assert.equal((await getDestination(options)).username, 'wanda');
  });
}
