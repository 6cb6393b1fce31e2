// A real store in a process of its own, with TLS, and its command line.

import { spawn, execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

// A busy machine is slow to start a process.
const PATIENCE_MS = 120_000;

// Settings of the caller are not for this store.
function environment() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('LANDBRIDGE_')));
}

// An authority and a certificate for loopback; the libraries insist on HTTPS.
export async function certificate(folder) {
  const file = (name) => join(folder, name);
  const openssl = (...words) => run('openssl', words, { cwd: folder });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  await openssl('req', '-x509', ...key, '-keyout', 'ca.key', '-out', 'ca.pem', '-days', '2', '-subj', '/CN=test authority');
  await openssl(
    'req', '-x509', ...key, '-keyout', 'tls.key', '-out', 'tls.pem', '-days', '2', '-subj', '/CN=localhost',
    '-CA', 'ca.pem', '-CAkey', 'ca.key', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1',
    '-addext', 'basicConstraints=critical,CA:FALSE',
  );
  return { authority: file('ca.pem'), certificate: file('tls.pem'), key: file('tls.key') };
}

export class Store {
  // Starts one on a free port of loopback.
  static async start(binary, folder, tls) {
    const ready = join(folder, 'ready.json');
    const child = spawn(
      binary,
      [
        'store', 'serve', '--data-dir', join(folder, 'data'), '--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0',
        '--tls-certificate', tls.certificate, '--tls-key', tls.key, '--allow-local-targets', '--ready-file', ready,
      ],
      { stdio: ['ignore', 'ignore', 'pipe'], env: environment() },
    );
    const store = new Store(binary, folder, child);
    child.once('error', (error) => (store.log += error));
    child.stderr.setEncoding('utf8').on('data', (text) => (store.log += text));
    const end = Date.now() + PATIENCE_MS;
    while (!store.url) {
      if (child.exitCode !== null || child.pid === undefined) throw new Error(`the store ended with ${child.exitCode}:\n${store.log}`);
      if (Date.now() > end) throw new Error(`the store is not ready:\n${store.log}`);
      store.url = await readFile(ready, 'utf8').then((text) => JSON.parse(text).store, () => undefined);
      await sleep(50);
    }
    return store;
  }

  constructor(binary, folder, child) {
    Object.assign(this, { binary, folder, child, log: '', url: undefined });
  }

  // Runs `landbridge store <words>` and returns what it printed.
  async command(...words) {
    const { stdout } = await run(this.binary, ['store', ...words], { env: environment() });
    return stdout;
  }

  // The service key that the command line prints for a tenant.
  async key(subdomain) {
    const data = join(this.folder, 'data');
    return JSON.parse(
      await this.command('create-key', '--data-dir', data, '--subaccount', subdomain, '--url', this.url),
    );
  }

  async stop() {
    if (this.child.exitCode !== null) return;
    const ended = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill('SIGTERM');
    const late = setTimeout(() => this.child.kill('SIGKILL'), PATIENCE_MS);
    await ended;
    clearTimeout(late);
  }
}

// A token by client credentials, without any library.
export async function token(key) {
  const answer = await fetch(`${key.url}/oauth/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`${key.clientid}:${key.clientsecret}`).toString('base64')}` },
    body: new URLSearchParams({ grant_type: 'client_credentials' }),
  });
  return (await checked(answer)).access_token;
}

// Writes destinations of a tenant.
export async function put(key, list, level = 'subaccount') {
  const answer = await fetch(`${key.uri}/destination-configuration/v1/${level}Destinations`, {
    method: 'POST',
    headers: { authorization: `Bearer ${await token(key)}`, 'content-type': 'application/json' },
    body: JSON.stringify(list),
  });
  await checked(answer);
}

async function checked(answer) {
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${answer.status}: ${text}`);
  return text === '' ? undefined : JSON.parse(text);
}
