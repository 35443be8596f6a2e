import { env } from 'cloudflare:workers';
import { vi } from 'vitest';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { DEPLOYED_VARS } from './tokens.ts';

export const SHOP = 'https://shop.example';
const WIDGET_SECRET = 'the-secret-of-a-widget';

/** What the deployment's visitors may do. */
const VISITOR_SETTINGS = {
  only: { agents: ['sky'], classifiers: ['mood'], origins: [SHOP] },
  limits: { usd_per_day: 0.01 },
  pool: { usd_per_day: 1 },
  seconds: 7_200,
};

/** @returns the settings of a deployed edge with visitors. @param visiting members that differ */
export const createVisitorSettings = (visiting: object = {}, vars: Record<string, unknown> = {}) => ({
  ...DEPLOYED_VARS,
  ALLOWED_ORIGINS: SHOP,
  TURNSTILE_SECRET: WIDGET_SECRET,
  VISITORS: JSON.stringify({ ...VISITOR_SETTINGS, ...visiting }),
  ...vars,
});

export const SOLVED_CHALLENGE = {
  success: true,
  hostname: 'shop.example',
  action: 'sluice',
  challenge_ts: undefined as unknown,
};

/** Stands in for Turnstile. @returns what it was asked. @param answer what it says, or how it fails */
export function mockTurnstile(answer: (request: JsonObject) => unknown): JsonObject[] {
  const asked: JsonObject[] = [];
  const outside = globalThis.fetch;
  vi.spyOn(globalThis, 'fetch').mockImplementation(async (input, init) => {
    const url = input instanceof Request ? input.url : String(input);
    if (!url.startsWith('https://challenges.cloudflare.com/')) return await outside(input, init);
    const body = JSON.parse(String(init?.body)) as JsonObject;
    asked.push(body);
    const said = answer(body);
    return said instanceof Response ? said : Response.json(said);
  });
  return asked;
}

let lastAddress = 0;

/** @returns the header with an address that no other test has: each has a brake of its own. */
export function createAddressHeader(): Record<string, string> {
  lastAddress += 1;
  return { 'cf-connecting-ip': `203.0.${Math.floor(lastAddress / 250)}.${1 + (lastAddress % 250)}`, origin: SHOP };
}

/** Counts the calls of objects that a binding makes. */
export function countBindingCalls(): { bindings: Record<string, unknown>; calls: () => number } {
  let calls = 0;
  const countCallsOf = (namespace: unknown) =>
    new Proxy(namespace as DurableObjectNamespace, {
      get: (target, name) => {
        const member = Reflect.get(target, name) as unknown;
        if (typeof member !== 'function') return member;
        if (name === 'get' || name === 'getByName') calls += 1;
        return member.bind(target) as unknown;
      },
    });
  const names = ['ACCOUNT', 'CONVERSATION', 'POOL', 'INBOX', 'BATCH'];
  const all = env as unknown as Record<string, unknown>;
  return { bindings: Object.fromEntries(names.map((name) => [name, countCallsOf(all[name])])), calls: () => calls };
}
