// Starts a real store, a target and token services, and runs the cases as an application that is bound to the store:
// with VCAP_SERVICES made from a service key of the command line.

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { destinations } from './lib/destinations.js';
import { mirror, tokenService } from './lib/peers.js';
import { Store, certificate } from './lib/store.js';
import { keySet, userToken } from './lib/user.js';

const binary = process.env.LANDBRIDGE_BIN;
if (!binary) throw new Error('LANDBRIDGE_BIN names no landbridge binary: run `cargo xtask sdk-conformance`');

const here = import.meta.dirname;
const cases = readdirSync(join(here, 'cases')).map((name) => join(here, 'cases', name));
const folder = await mkdtemp(join(tmpdir(), 'landbridge-sdk-'));
let store;
let code = 1;
try {
  const tls = await certificate(folder);
  store = await Store.start(binary, folder, tls);
  const [target, tokens] = [await mirror(), await tokenService()];
  const key = await store.key('provider');
  const peers = { target: target.url, tokens: tokens.url };
  const users = { jane: userToken(), forged: `${userToken().slice(0, -8)}AAAAAAAA` };
  const world = { ...peers, users, destinations: destinations({ ...peers, jwks: keySet() }) };
  const binding = { name: 'store', label: 'destination', tags: ['destination'], plan: 'lite', credentials: key };
  const words = ['--test', '--test-reporter', join(here, 'reporter.js'), '--test-reporter-destination', 'stdout'];
  const child = spawn(process.execPath, [...words, ...cases], {
    cwd: here,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      // Read by Node at its start: the one way to trust an authority that the libraries leave.
      NODE_EXTRA_CA_CERTS: tls.authority,
      VCAP_SERVICES: JSON.stringify({ destination: [binding] }),
      WORLD: JSON.stringify(world),
    },
  });
  code = await new Promise((resolve) => child.once('exit', resolve));
  target.server.close();
  tokens.server.close();
} catch (error) {
  console.error(error);
  console.log('test result: FAILED. 0 passed; 1 failed; 0 ignored');
} finally {
  await store?.stop();
  if (code !== 0 && store) console.error(`---- the store's log ----\n${store.log}`);
  await rm(folder, { recursive: true, force: true });
}
process.exit(code ?? 1);
