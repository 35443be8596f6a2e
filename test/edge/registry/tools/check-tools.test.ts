import { expect, test } from 'vitest';
import type { Scope } from '#edge/auth/identity/identity.ts';
import { parseSettings } from '#edge/config/settings.ts';
import { toolSecretsOf } from '#edge/config/tool-secrets.ts';
import { ApiError } from '#edge/kit/http/errors.ts';
import { rejectRunToolsWithoutConversation, validateRunTools } from '#edge/registry/tools/check-tools.ts';
import { TOOL_URL, TOOL_VARS, weatherTool } from '#test/support/scripted-runs.ts';

/** The error that a request raises. */
function refusal(
  body: object,
  scopes: Scope[] = ['messages', 'tools'],
  vars: object = TOOL_VARS,
): ApiError | undefined {
  try {
    validateRunTools({ ...body }, { account: 'alice', scopes, token: undefined }, parseSettings({ ...vars }));
    return undefined;
  } catch (thrown) {
    if (thrown instanceof ApiError) return thrown;
    throw thrown;
  }
}

test('accepts tools with `run` in a request only with the scope `tools` or `admin`', () => {
  expect(refusal({ tools: [weatherTool()] })).toBeUndefined();
  expect(refusal({ tools: [weatherTool()] }, ['admin'])).toBeUndefined();
  expect(refusal({ tools: [weatherTool()] }, ['messages'])).toMatchObject({ status: 403, type: 'permission_error' });
  const { run: _, ...own } = weatherTool();
  expect(refusal({ tools: [own] }, ['messages'])).toBeUndefined();
});

test.each([
  [{ tools: [weatherTool({ url: 'https://elsewhere.example.com/' })] }, 'tools.0.run.url: its host'],
  [{ tools: [weatherTool({ url: 5 })] }, 'tools.0.run.url: '],
  [{ tools: [weatherTool({ retries: 5 })] }, 'tools.0.run: '],
  [{ tools: [weatherTool({ timeout_seconds: 0 })] }, 'tools.0.run.timeout_seconds: '],
  [{ tools: [weatherTool({ headers: { host: 'x' } })] }, 'tools.0.run.headers: '],
  [{ tools: [weatherTool({ headers: { 'webhook-id': 'x' } })] }, 'tools.0.run.headers: '],
  // A server's answer to it would be read as the tool's.
  [{ tools: [weatherTool({ headers: { Expect: '100-continue' } })] }, 'tools.0.run.headers: '],
  [{ tools: [weatherTool({ headers: { 'x-a': 'a\nb' } })] }, 'tools.0.run.headers.x-a: '],
  [
    { tools: [weatherTool({ headers: { 'x-a': { secret: 'NONE' } } })] },
    'tools.0.run.headers.x-a: this edge has no TOOL_SECRET_NONE',
  ],
  [
    { tools: [JSON.parse(`{"name":"a","run":{"url":"${TOOL_URL}","headers":{"__proto__":null}}}`)] },
    'tools.0.run.headers: ',
  ],
  [{ tools: [{ ...weatherTool(), name: '' }] }, 'tools.0.name: '],
  [{ tools: [weatherTool({ approval: 'sometimes' })] }, 'tools.0.run.approval: must be "always"'],
  [{ tools: [weatherTool({ approval: { over: { field: 'amount' } } })] }, 'tools.0.run.approval'],
  [{ tools: [{ name: 'clock', run: { worker: false } }] }, 'tools.0.run.worker'],
  [{ tools: [{ name: 'clock', run: { worker: true, approval: 1 } }] }, 'tools.0.run.approval'],
  [
    { tools: [{ name: 'clock', run: { worker: true, approval: 'always' } }] },
    'tools.0.name: this deployment has no tool',
  ],
  [{ tools: [weatherTool(), weatherTool()] }, 'tools.1.name: '],
  [{ tools: [weatherTool()], max_usd: 0 }, 'max_usd: '],
  [{ tools: [weatherTool()], max_turns: 1.5 }, 'max_turns: '],
  [{ mcp_servers: [{ name: 'edge' }] }, 'mcp_servers: '],
])('rejects %j with the path of the invalid field', (body, message) => {
  const error = refusal(body);
  expect(error?.status).toBe(400);
  expect(error?.message).toContain(message);
});

test('rejects tools with a URL if TOOL_SIGNING_SECRET is missing or the request has no conversation', () => {
  expect(refusal({ tools: [weatherTool()] }, ['admin'], {})?.message).toContain('TOOL_SIGNING_SECRET');
  expect(() => rejectRunToolsWithoutConversation({ tools: [weatherTool()] })).toThrow('conversation');
  expect(() => rejectRunToolsWithoutConversation({ tools: 'run' })).not.toThrow();
});

test('reads tool secrets with their hosts, and names a malformed secret without its value', () => {
  const value = 'Bearer a=b-and-16-in-all';
  const settings = parseSettings({ TOOL_SECRET_A: `tools.example.com=${value}` });
  expect(toolSecretsOf(settings)).toEqual({ A: { host: 'tools.example.com', value } });
  for (const value of ['s3cret', 'https://a.example.com=s3cret', '=s3cret', 'a.example.com=', '*.example.com=s3cret']) {
    expect(() => parseSettings({ TOOL_SECRET_A: value })).toThrow(/TOOL_SECRET_A(?!.*s3cret)/);
  }
});

test('accepts a secret of fewer than 16 characters, not counting its scheme, only in development', () => {
  for (const value of ['x'.repeat(15), `Bearer ${'x'.repeat(15)}`, `Basic  ${'x'.repeat(15)}`]) {
    const given = { TOOL_SECRET_A: `tools.example.com=${value}` };
    expect(() => parseSettings(given)).toThrow(/TOOL_SECRET_A.*16 characters/);
    expect(toolSecretsOf(parseSettings({ ...given }, true)).A?.value).toBe(value);
    expect(toolSecretsOf(parseSettings({ TOOL_SECRET_A: `${given.TOOL_SECRET_A}x` })).A?.value).toBe(`${value}x`);
  }
});
