/** The pages of identity providers. What stands in for each of them is said where it does. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { decodeJwt, exportJWK, generateKeyPair, SignJWT } from 'jose';
import { describe, expect, onTestFinished, test } from 'vitest';
import { isBrowserMissing } from '#test/support/browser.ts';
import {
  ANSWER,
  askByForm,
  guide,
  openSharedFrontends,
  publishGuidePage,
  startFrontend,
  toNodeServer,
} from '#test/support/frontend.ts';
import { filesOfSection, sectionOf } from '#test/support/guides.ts';
import { caseCount } from '#test/support/property-cases.ts';
import { bearerHeader } from '#test/support/tokens.ts';

const { startSiteAndEdge: startBoth, openPage: visit, expectRestrictedAnswer: expectBound } = openSharedFrontends();

describe.skipIf(isBrowserMissing())('a page of an identity provider', () => {
  /** What a provider has noted about a user. */
  interface User {
    /** What only the app's server can write: `app_metadata`, or what Clerk calls `public_metadata`. */
    trusted?: Record<string, unknown>;
    /** What the user can write. */
    written: Record<string, unknown>;
  }
  const MAY = { agents: ['support'], sluice_agents: ['support'] };
  const WISH = { agents: ['secret'], sluice_agents: ['secret'] };

  interface Provider {
    host: string;
    /** Makes the provider's own claims of a user's token, by what the guide has put there. */
    claims(user: User, settings: Record<string, string>): Promise<Record<string, unknown>>;
    /** What stands in for the provider's SDK in the page; `/login` gives the token of who is logged in. */
    sdk: string;
  }

  const PROVIDERS: Record<string, Provider> = {
    Auth0: {
      host: 'https://TENANT.auth0.com',
      // The Action itself runs.
      async claims({ trusted, written }, { JWT_AUDIENCE: aud = '' }) {
        const folder = await mkdtemp(join(tmpdir(), 'sluice-action-'));
        onTestFinished(() => rm(folder, { recursive: true, force: true }));
        const action = filesOfSection(guide, 'Auth0').get('auth0-action.js') ?? '';
        await writeFile(join(folder, 'action.cjs'), action);
        const { onExecutePostLogin } = createRequire(import.meta.url)(join(folder, 'action.cjs')) as {
          onExecutePostLogin(event: object, api: object): Promise<void>;
        };
        const claims: Record<string, unknown> = {
          aud: [aud, 'https://tenant.example/userinfo'],
          scope: 'openid email',
        };
        const setCustomClaim = (name: string, value: unknown) => {
          claims[name] = value;
        };
        const user = { app_metadata: trusted, user_metadata: written };
        await onExecutePostLogin({ user }, { accessToken: { setCustomClaim } });
        return claims;
      },
      sdk: `window.auth0 = { getTokenSilently: async ({ authorizationParams: { audience } }) =>
        (await fetch('/login?' + new URLSearchParams({ audience }))).text() };`,
    },
    Clerk: {
      host: 'https://clerk.example.com',
      // A stand-in for Clerk's templates: it knows the one form of them that the guide uses.
      async claims({ trusted }) {
        const [, template = ''] = /```json\n([\s\S]*?)```/.exec(sectionOf(guide, 'Clerk')) ?? [];
        const claims = JSON.parse(template) as Record<string, unknown>;
        const [, member = '', otherwise] =
          /^\{\{user\.public_metadata\.(\w+) \|\| '(\w+)'\}\}$/.exec(String(claims.agents)) ?? [];
        return { ...claims, agents: trusted?.[member] ?? otherwise };
      },
      sdk: `window.Clerk = { session: { getToken: async ({ template }) =>
        (await fetch('/login?' + new URLSearchParams({ template }))).text() } };`,
    },
    Supabase: {
      host: 'https://PROJECT.supabase.co',
      // The hook is SQL, and no database is here: this does what it says.
      async claims({ trusted, written }) {
        const agents = trusted?.sluice_agents;
        const shared = { aud: 'authenticated', app_metadata: trusted, user_metadata: written };
        return agents === undefined ? shared : { ...shared, sluice_agents: agents };
      },
      sdk: `window.supabase = { auth: { getSession: async () =>
        ({ data: { session: { access_token: await (await fetch('/login')).text() } } }) } };`,
    },
  };

  /** A provider's keys where the guide says that they are, and its tokens. */
  async function startProvider(name: string, { host }: Provider) {
    const keys = await generateKeyPair('ES256');
    const jwk = { ...(await exportJWK(keys.publicKey)), kid: 'one', alg: 'ES256', use: 'sig' };
    const server = await startFrontend();
    onTestFinished(server.stop);
    const settings = Object.fromEntries(
      [...sectionOf(guide, name).matchAll(/`(J[A-Z_]+)=([^`\s]+)`/g)].map(([, setting = '', value = '']) => [
        setting,
        value.replace(host, server.origin),
      ]),
    );
    server.files.set(new URL(settings.JWKS_URL ?? '').pathname.slice(1), JSON.stringify({ keys: [jwk] }));
    const sign = async (claims: Record<string, unknown>, account: string) =>
      await new SignJWT(claims)
        .setProtectedHeader({ alg: 'ES256', kid: 'one' })
        .setIssuer(settings.JWT_ISSUER ?? '')
        .setSubject(account)
        .setIssuedAt()
        .setExpirationTime('60s')
        .sign(keys.privateKey);
    return { settings, sign };
  }

  /** The page of a provider, on which a user is logged in. */
  async function open(name: string, user: User, more: Record<string, string> = {}) {
    const provider = PROVIDERS[name] as Provider;
    const { settings, sign } = await startProvider(name, provider);
    const { site, edge } = await startBoth(() => ({ ...settings, DEFAULT_LIMITS: '{"usd_per_day": 1}', ...more }));
    publishGuidePage(site, edge, filesOfSection(guide, name));
    const asked: string[] = [];
    site.server = toNodeServer(async ({ url }) => {
      asked.push(new URL(url).search);
      return new Response(await sign(await provider.claims(user, settings), `${name}|alice`));
    });
    const seen = await visit(site, edge, async (page) => await page.addInitScript(provider.sdk));
    return { site, edge, seen, asked };
  }

  test.each(Object.keys(PROVIDERS))(
    '%s: allows the agents in trusted metadata, and ignores metadata that the user can write',
    async (name) => {
      const { site, edge, seen, asked } = await open(name, { trusted: MAY, written: WISH });
      expect(await askByForm(seen, 'Where is my parcel?')).toContain(ANSWER);
      const token = await expectBound(seen, site, edge, 'Where is my parcel?');
      expect(decodeJwt(token).sub).toBe(`${name}|alice`);
      const wished = await fetch(`${edge.url}/messages`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', origin: site.origin, ...bearerHeader(token) },
        body: JSON.stringify({ agent: 'secret', conversation: 'c1', messages: [{ role: 'user', content: 'Hi' }] }),
      });
      expect([wished.status, await wished.text()]).toEqual([403, expect.stringContaining('support')]);
      // The SDK was asked for the token that the guide's settings expect.
      expect(asked).toHaveLength(1);
      if (name === 'Auth0') expect(decodeURIComponent(asked[0] ?? '')).toBe(`?audience=${edge.url}`);
      if (name === 'Clerk') expect(asked).toEqual(['?template=sluice']);
    },
  );

  test.each(['Auth0', 'Supabase'].slice(0, caseCount(2)))(
    '%s: rejects a token without the claim unless JWT_ONLY is set',
    async (name) => {
      const none = { trusted: {}, written: WISH };
      const closed = await open(name, none);
      await closed.seen.page.getByLabel('Question').fill('Hello?');
      await closed.seen.page.getByRole('button', { name: 'Ask' }).click();
      await closed.seen.page.getByRole('alert').getByText('JWT_ONLY is not set for this case').waitFor();
      const opened = await open(name, none, { JWT_ONLY: '{"agents": ["support"]}' });
      expect(await askByForm(opened.seen, 'Hello?')).toContain(ANSWER);
      await expectBound(opened.seen, opened.site, opened.edge, 'Hello?');
    },
  );

  test('Clerk: uses the default of the template for a user without metadata', async () => {
    const { site, edge, seen } = await open('Clerk', { written: WISH });
    expect(await askByForm(seen, 'Hello?')).toContain(ANSWER);
    await expectBound(seen, site, edge, 'Hello?');
  });
});

test('the pages of the guide contain no secrets', () => {
  const pages = ['The page', 'Auth0', 'Clerk', 'Supabase', 'Visitors without a login'].map((heading) => [
    ...filesOfSection(guide, heading).values(),
  ]);
  expect(pages.flat()).toHaveLength(8);
  expect(pages.flat().join('\n')).not.toMatch(/process\.env|ADMIN|SECRET/);
});
