import { expect, test } from 'vitest';
import type { Identity } from '#edge/auth/identity/caller.ts';
import type { Settings } from '#edge/config/settings.ts';
import { ApiError } from '#edge/kit/http/errors.ts';
import { validateBySchema } from '#edge/kit/http/validate.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { parseAgent } from '#edge/plugins/agents/agent.ts';
import { serializeAgent } from '#edge/plugins/agents/agent-definition.ts';
import { putAgent } from '#edge/plugins/agents/agents.schema.ts';
import { buildRequestWithAgent } from '#edge/plugins/agents/apply-agent.ts';
import { validateEdgeTools } from '#edge/registry/tools/check-tools.ts';
import { findEdgeTools } from '#edge/registry/tools/edge-tools.ts';
import { findRejectionWarnings } from '#edge/registry/versions/rejection-warnings.ts';
import { createSimulator } from '#edge/toolkit/simulator.ts';

const PICKED = { type: 'object', properties: { city: { type: 'string' } } };
const AGENT = {
  model: 'claude-sonnet-4-6',
  max_tokens: 2_048,
  system: [{ type: 'text', text: 'Be kind.' }],
  tools: [
    {
      name: 'look',
      description: 'Looks',
      input_schema: PICKED,
      run: {
        url: 'https://tools.example.com/',
        approval: 'always',
        timeout_seconds: 20,
        once: true,
        headers: { a: 'b' },
      },
    },
    { name: 'ask_bob', description: 'Asks bob', run: { agent: 'bob', timeout_seconds: 5, approval: 'always' } },
    { name: 'pick', description: 'Picks', input_schema: PICKED },
    { type: 'web_search_20250305', name: 'web_search', max_uses: 2 },
  ],
  thinking: { type: 'enabled', budget_tokens: 1_024 },
  tool_choice: { type: 'auto' },
  output_config: { effort: 'low' },
  stop_sequences: ['END'],
  temperature: 1,
};
const BY = { account: 'alice', scopes: ['messages', 'tools'], token: undefined } as const satisfies Identity;
const SETTINGS = {
  TOOL_HOSTS: ['tools.example.com'],
  TOOL_SIGNING_SECRET: 'whsec_x',
  toolSecrets: {},
  development: false,
} as unknown as Settings;
const STORING = { identity: BY, settings: SETTINGS, isStored: true };
const WRONG = [null, '', 7, -1, true, [], {}, [1], { a: 1 }];

/** Of words that the API alone knows, and members that it may have got since, nothing is said when an agent is stored. */
const OF_THE_API =
  /Extra inputs are not permitted|Input tag '[^']+' found|Input should be '(?!object')|greater than or equal|while providing tools/;

type Path = readonly (string | number)[];
const isHolder = (value: unknown): value is JsonObject => typeof value === 'object' && value !== null;
const at = (value: unknown, path: Path): JsonObject =>
  path.reduce((one, key) => (one as JsonObject)[key] as JsonObject, value as JsonObject);

function* pathsIn(value: unknown, path: Path = []): Generator<Path> {
  if (!isHolder(value)) return;
  for (const key of Object.keys(value)) {
    yield [...path, key];
    yield* pathsIn(value[key], [...path, key]);
  }
}

/** Yields the agent with one thing changed: a wrong value, a member that is gone, or one that stands a level too high. */
function* mutants(): Generator<[string, JsonObject]> {
  for (const path of pathsIn(AGENT)) {
    const name = String(path.at(-1));
    const changed = (what: string, change: (holder: JsonObject, agent: JsonObject) => void): [string, JsonObject] => {
      const agent = structuredClone(AGENT) as JsonObject;
      change(at(agent, path.slice(0, -1)), agent);
      return [`${path.join('.')} ${what}`, agent];
    };
    for (const wrong of WRONG) yield changed(`= ${JSON.stringify(wrong)}`, (holder) => (holder[name] = wrong));
    const isInList = Array.isArray(at(AGENT, path.slice(0, -1)));
    if (isInList) continue;
    yield changed('gone', (holder) => delete holder[name]);
    if (path.length < 3) continue;
    yield changed('a level too high', (holder, agent) => {
      at(agent, path.slice(0, -2))[name] = holder[name];
      delete holder[name];
    });
  }
}

/** @returns what goes up of an agent as it is stored; undefined if it is not stored */
function upOf(given: JsonObject): JsonObject | undefined {
  try {
    validateEdgeTools(given.tools, STORING);
    const agent = parseAgent(new TextDecoder().decode(serializeAgent(validateBySchema(putAgent.fields, given))));
    const members = new Map([['messages', '[{"role":"user","content":"Hello"}]']]);
    const laid = buildRequestWithAgent(members, agent, { system: undefined, tools: undefined }, { maxBreakpoints: 0 });
    const body = JSON.parse(laid) as JsonObject;
    const tools = findEdgeTools(JSON.stringify(body.tools ?? []))?.sent;
    for (const name of ['max_turns', 'max_tool_calls', 'parallel_tools']) delete body[name];
    return { ...body, ...(tools !== undefined && { tools: JSON.parse(tools) as unknown }) };
  } catch (thrown) {
    if (thrown instanceof ApiError && thrown.status === 400) return undefined;
    throw thrown;
  }
}

/** @returns whether storing the agent warns that Claude rejects it */
function isWarnedOf({ tools, output_config }: JsonObject): boolean {
  const listed = Array.isArray(tools) ? (tools as JsonObject[]) : [];
  return findRejectionWarnings({ tools: listed, output_config, mcp_servers: [] }).length > 0;
}

test('the API rejects no stored agent for a malformed field that Sluice validates, unless a warning was given', async () => {
  const simulate = createSimulator({ ttftMs: 0, tokensPerSecond: 0 });
  const headers = { 'content-type': 'application/json', 'x-api-key': 'key', 'anthropic-version': '2023-06-01' };
  const refusalOf = async (up: JsonObject) => {
    const init = { method: 'POST', headers, body: JSON.stringify(up) };
    const answer = await simulate('https://api.anthropic.com/v1/messages/count_tokens', init);
    return answer.ok ? undefined : ((await answer.json()) as { error: { message: string } }).error.message;
  };
  const counted = ({ max_tokens: _, stop_sequences: __, temperature: ___, ...up }: JsonObject) => up;
  const whole = upOf(AGENT);
  expect(whole && (await refusalOf(counted(whole)))).toBeUndefined();
  const refused: string[] = [];
  let stored = 0;
  for (const [what, agent] of mutants()) {
    const up = upOf(agent);
    if (!up) continue;
    stored += 1;
    const why = await refusalOf(counted(up));
    if (why !== undefined && !OF_THE_API.test(why) && !isWarnedOf(up)) refused.push(`${what}: ${why}`);
  }
  expect(refused).toEqual([]);
  expect(stored).toBeGreaterThan(50);
});

test.each(['approval', 'timeout_seconds', 'once', 'headers'])(
  '%s beside `run` is rejected with a hint to move it into `run`',
  (name) => {
    const [tool] = AGENT.tools;
    const { [name]: moved, ...run } = (tool?.run ?? {}) as JsonObject;
    const tools = [{ ...tool, [name]: moved, run }];
    expect(() => validateEdgeTools(tools, STORING)).toThrow(
      `tools.0.${name}: it has no effect beside \`run\`. Put it into \`run\``,
    );
    // A request is told so as well.
    expect(() => validateEdgeTools(tools, { ...STORING, isStored: false })).toThrow(/beside `run`/);
  },
);
