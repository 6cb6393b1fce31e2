// One destination of each kind that is tried, by name. URLs of targets and token services are those of the run.

export function destinations({ target, tokens, jwks }) {
  const http = (Name, Authentication, more = {}) => ({
    Name, Type: 'HTTP', URL: `${target}/base`, ProxyType: 'Internet', Authentication, ...more,
  });
  const client = { clientId: 'target-client', clientSecret: 'target-secret', tokenServiceURL: `${tokens}/oauth/token` };
  const saml = { audience: 'https://target.example.com', 'x_user_token.jwks': jwks };
  return [
    http('none', 'NoAuthentication'),
    http('basic', 'BasicAuthentication', { User: 'wanda', Password: 'pass:word' }),
    http('client-credentials', 'OAuth2ClientCredentials', client),
    http('client-credentials-scope', 'OAuth2ClientCredentials', { ...client, scope: 'read write' }),
    http('refused', 'OAuth2ClientCredentials', { ...client, clientSecret: 'wrong' }),
    http('password', 'OAuth2Password', { ...client, User: 'wanda', Password: 'her password' }),
    http('refresh', 'OAuth2RefreshToken', client),
    http('jwt-bearer', 'OAuth2JWTBearer', { ...client, 'x_user_token.jwks': jwks }),
    http('exchange', 'OAuth2UserTokenExchange', { ...client, 'x_user_token.jwks': jwks }),
    http('saml-bearer', 'OAuth2SAMLBearerAssertion', {
      ...saml, tokenServiceURL: client.tokenServiceURL, clientKey: 'target-client',
      tokenServiceUser: 'target-client', tokenServicePassword: 'target-secret',
    }),
    http('saml-assertion', 'SAMLAssertion', saml),
    http('decorated', 'NoAuthentication', {
      'URL.headers.x-fixed': 'from the store', 'URL.queries.fixed': 'query', 'sap-client': '100',
      forwardAuthToken: 'true',
    }),
  ];
}
