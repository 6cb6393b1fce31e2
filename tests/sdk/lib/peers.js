// The other systems: a target that says what it received, and the token services of destinations.

import { createServer } from 'node:http';

const MAX_BODY = 1 << 20;

async function body(request) {
  const parts = [];
  let length = 0;
  for await (const part of request) {
    length += part.length;
    if (length > MAX_BODY) throw new Error('too long');
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

async function serve(answer) {
  const server = createServer((request, response) => {
    answer(request).then(
      ([status, value]) => {
        response.writeHead(status, { 'content-type': 'application/json' });
        response.end(JSON.stringify(value));
      },
      (error) => {
        response.writeHead(500);
        response.end(String(error));
      },
    );
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { server, url: `http://127.0.0.1:${server.address().port}` };
}

// Answers every request with its method, path, headers and body.
export function mirror() {
  return serve(async (request) => [
    200,
    { method: request.method, url: request.url, headers: request.headers, body: await body(request) },
  ]);
}

// A token service (RFC 6749) whose tokens say what they were asked with: base64url JSON of form, client and path.
export function tokenService() {
  return serve(async (request) => {
    const form = Object.fromEntries(new URLSearchParams(await body(request)));
    // The first step of OAuth2UserTokenExchange: the user's token, and of the client its id alone.
    if (form.grant_type === 'user_token' && form.client_id === 'target-client') {
      const user = request.headers.authorization?.match(/^Bearer (.*)$/)?.[1];
      return user ? [200, { refresh_token: `of ${user}` }] : [401, { error: 'unauthorized' }];
    }
    const basic = request.headers.authorization?.match(/^Basic (.*)$/)?.[1];
    const [id, secret] = basic
      ? Buffer.from(basic, 'base64').toString('utf8').split(':')
      : [form.client_id, form.client_secret];
    if (id !== 'target-client' || secret !== 'target-secret') return [401, { error: 'invalid_client' }];
    delete form.client_secret;
    const access_token = Buffer.from(JSON.stringify({ form, path: request.url })).toString('base64url');
    return [200, { access_token, token_type: 'bearer', expires_in: 3600, refresh_token: `refresh:${access_token}` }];
  });
}

// What such a token says.
export function said(token) {
  return JSON.parse(Buffer.from(token, 'base64url').toString('utf8'));
}
