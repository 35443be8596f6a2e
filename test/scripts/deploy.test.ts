import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { unstable_readConfig } from 'wrangler';
import { DeployCheckout, SECRETS } from '#test/support/deploy-checkout.ts';
import { root } from '#test/support/root.ts';

const QUEUES = `
[[queues.producers]]
binding = "WORK"
queue = "work"

[[queues.consumers]]
queue = "work"
dead_letter_queue = "work-dead"
`;
/** Behind which stands what is said of it. */
const DEPLOY = ['deploy', '--env', ''];

let checkout: DeployCheckout;

beforeAll(async () => {
  checkout = await DeployCheckout.create();
});

afterAll(() => checkout.remove());

beforeEach(() => checkout.setExtraConfiguration());

const deploy: DeployCheckout['deploy'] = (...given) => checkout.deploy(...given);

describe('npm run deploy', () => {
  test('runs wrangler deploy, and prints the next step', async () => {
    const { status, output, after } = await deploy();
    expect(status, output).toBe(0);
    expect(after.commands.filter(([verb]) => verb === 'deploy')).toEqual([expect.arrayContaining(DEPLOY)]);
    expect(output).toContain('npm run token -- --account you --scopes admin');
  });

  test('prints its usage with --help, and changes nothing', async () => {
    const { status, output, verbs } = await deploy({}, ['--help']);
    expect([status, verbs]).toEqual([0, []]);
    expect(output).toContain('npm run deploy [-- --env NAME] [--dry-run]');
  });

  test('runs only the dry run of wrangler with --dry-run', async () => {
    const { status, output, after } = await deploy({ queues: [], secrets: {} }, ['--dry-run', '--outdir', 'made']);
    expect(status, output).toBe(0);
    expect(after.commands).toEqual([expect.arrayContaining(['deploy', '--dry-run', '--outdir', 'made'])]);
  });

  test('creates the missing queues of wrangler.toml once, before it deploys', async () => {
    await checkout.setExtraConfiguration(QUEUES);
    const first = await deploy();
    expect(first.status, first.output).toBe(0);
    const own = first.after.queues.filter((name) => name.startsWith('work'));
    expect(own).toEqual(['work', 'work-dead']);
    expect(first.verbs.lastIndexOf('queues create')).toBeLessThan(first.verbs.indexOf('deploy'));
    const second = await deploy({ queues: first.after.queues });
    expect(second.status, second.output).toBe(0);
    expect(second.after.queues).toEqual(first.after.queues);
    expect(second.verbs).not.toContain('queues create');
  });

  test('deploys another environment, and rejects an unknown one', async () => {
    const { status, output, after } = await deploy({ secrets: { '': SECRETS } }, ['--env', 'staging']);
    expect(status, output).toBe(0);
    expect(after.commands).toContainEqual(expect.arrayContaining(['deploy', '--env', 'staging']));
    expect(output).toContain('npx wrangler secret put ANTHROPIC_API_KEY --env staging');
    const unknown = await deploy({}, ['--env', 'nowhere']);
    expect([unknown.status, unknown.verbs]).toEqual([1, []]);
    expect(unknown.output).toContain('nowhere');
  });

  test('warns about a setting that is probably misspelt, and deploys', async () => {
    await checkout.setExtraConfiguration('[vars]\nDEFAULT_LIMTS = "{}"');
    const { status, output } = await deploy();
    expect([status, output]).toEqual([0, expect.stringContaining('Did you mean DEFAULT_LIMITS?')]);
  });

  test('rejects a Durable Object class without a migration', async () => {
    await checkout.setExtraConfiguration('[[durable_objects.bindings]]\nname = "GATE"\nclass_name = "Gate"');
    const { status, output, verbs } = await deploy();
    expect([status, verbs]).toEqual([1, []]);
    expect(output).toContain('GATE is bound to Gate, which no migration names.');
    expect(output).toContain('new_sqlite_classes = ["Gate"]');
  });

  test.each([
    ['a malformed setting', 'MAX_BODY_BYTES = "many"', 'MAX_BODY_BYTES'],
    ['an address that is nobody’s', 'ALERT_URL = "https://10.0.0.1/"', 'ALERT_URL'],
    ['a secret for everybody to read', 'ANTHROPIC_API_KEY = "sk-ant-x"', 'npx wrangler secret put ANTHROPIC_API_KEY'],
    ['an upstream that is not right', `UPSTREAMS = '[{"name":"east","kind":"bedrock"}]'`, 'the entry "east": region'],
    ['webhooks that are not right', `WEBHOOKS = '[{"source":"github"}]'`, 'WEBHOOKS.0.secret'],
    ['a secret of webhooks for everybody to read', 'OUR_WEBHOOK_SECRET = "sk-ant-x"', 'secret put OUR_WEBHOOK_SECRET'],
    ['a key of an upstream for everybody to read', 'UPSTREAM_EAST_KEY = "sk-ant-x"', 'secret put UPSTREAM_EAST_KEY'],
  ])('rejects %s before it changes anything', async (_, line, named) => {
    await checkout.setExtraConfiguration(`[vars]\n${line}`);
    const { status, output, after } = await deploy();
    expect(status).toBe(1);
    expect(output).toContain(named);
    expect(output).not.toContain('sk-ant-x');
    expect(after.commands).toEqual([]);
  });

  const provider = `JWKS_URL = "https://login.example.com/keys"
JWT_ISSUER = "https://login.example.com/"
JWT_AUDIENCE = "sluice"
DEFAULT_LIMITS = '{"usd_per_day":1}'`;
  const visitors = `ALLOWED_ORIGINS = "https://shop.example"
VISITORS = '{"only":{"agents":["support"],"origins":["https://shop.example"]},"pool":{"usd_per_day":5}}'`;
  const upstreams = `[{"name":"main","kind":"anthropic"},{"name":"east-2","kind":"bedrock","region":"us-east-1"}]`;
  const webhooks = `[{"source":"github","secret":"OUR_WEBHOOK_SECRET"},{"source":"slack","secret":"CHAT_WEBHOOK_SECRET"}]`;
  test.each([
    ['at first', '', [], SECRETS],
    ['one is set', '', ['SIGNING_SECRET'], ['ANTHROPIC_API_KEY']],
    ['an identity provider signs', provider, [], ['ANTHROPIC_API_KEY']],
    [
      'there are several upstreams',
      `UPSTREAMS = '${upstreams}'`,
      SECRETS,
      ['UPSTREAM_MAIN_KEY', 'UPSTREAM_EAST_2_KEY'],
    ],
    ['there are webhooks', `WEBHOOKS = '${webhooks}'`, [...SECRETS, 'CHAT_WEBHOOK_SECRET'], ['OUR_WEBHOOK_SECRET']],
    ['alerts are delivered', 'ALERT_URL = "https://hooks.example.com/"', SECRETS, ['DELIVERY_SIGNING_SECRET']],
    ['visitors may come', visitors, ['ANTHROPIC_API_KEY'], ['SIGNING_SECRET', 'TURNSTILE_SECRET']],
  ])('prints the command for each missing secret: %s', async (_, vars, there, missing) => {
    await checkout.setExtraConfiguration(`[vars]\n${vars}`);
    const { status, output } = await deploy({ secrets: { '': [...there] } });
    expect(status, output).toBe(0);
    const named = [...output.matchAll(/^ {2}npx wrangler secret put (\w+)$/gm)].map(([, name]) => name);
    expect(named).toEqual(missing);
    expect(output).not.toContain('npm run token');
  });

  test('fails if wrangler is not logged in, and explains how to log in', async () => {
    await checkout.setExtraConfiguration(QUEUES);
    const { status, output, verbs } = await deploy({ loggedIn: false });
    expect(status).toBe(1);
    expect(output).toContain('npx wrangler login');
    expect(verbs).not.toContain('deploy');
  });
});

describe('wrangler.toml', () => {
  const { definedEnvironments = [] } = read() as { definedEnvironments?: string[] };

  function read(env?: string) {
    return unstable_readConfig({ config: join(root, 'wrangler.toml'), env }, { hideWarnings: true });
  }

  /** What the code can count on, without the names that differ between deployments. */
  function offered(env?: string) {
    const { durable_objects, kv_namespaces, queues, define, migrations, observability, assets, vars } = read(env);
    const consumers = queues.consumers as { queue: string; dead_letter_queue?: string }[];
    const producers = queues.producers as { binding: string; queue: string }[];
    return {
      objects: durable_objects.bindings,
      stores: kv_namespaces.map(({ binding }: { binding: string }) => binding),
      producers: producers.map(({ binding }) => binding),
      consumers: consumers.map(({ queue: _, dead_letter_queue, ...rest }) => ({
        ...rest,
        kept: dead_letter_queue !== undefined,
      })),
      settings: Object.keys(vars),
      define,
      migrations,
      observability,
      assets,
    };
  }

  test('defines the same bindings and settings in each environment as in the default one, with separate queues', () => {
    expect(definedEnvironments).toContain('staging');
    for (const name of definedEnvironments) {
      expect(offered(name), name).toEqual(offered());
      const queues = (env?: string) => (read(env).queues.consumers as { queue: string }[]).map(({ queue }) => queue);
      expect(queues(name).filter((queue) => queues().includes(queue))).toEqual([]);
    }
    expect(offered()).toMatchObject({ observability: { enabled: true } });
  });
});
