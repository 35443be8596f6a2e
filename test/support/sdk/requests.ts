/** Requests made of the SDK's types, so that all that is not the matter of a case is as the API wants it. */

import { gifOf, jpegOf, pngOf, webpOf } from '#test/simulator/pictures.ts';
import type { SdkTypes } from './types.ts';
import { listWrongValues, UNKNOWN_NAME, ValueGenerator } from './values.ts';

type Json = Record<string, unknown>;

const PICTURES: Readonly<Record<string, string>> = {
  'image/png': pngOf(2, 2),
  'image/jpeg': jpegOf(2, 2),
  'image/gif': gifOf(2, 2),
  'image/webp': webpOf('VP8 ', 2, 2),
};

/** What the types do not say of a member: a model that there is, a picture that is one. */
export const SAMPLES: Readonly<Record<string, unknown>> = {
  model: 'claude-haiku-5-5',
  max_tokens: 2_000,
  budget_tokens: 1_024,
  url: 'https://files.test/a',
  inference_geo: 'us',
  'Base64ImageSource.media_type': 'image/png',
  'Base64ImageSource.data': PICTURES['image/png'],
  'Base64PDFSource.data': btoa('%PDF-1.4 /Type /Page'),
  'ServerToolUseBlockParam.name': 'web_search',
  'Tool.input_schema': { type: 'object' },
  'JSONOutputFormat.schema': { type: 'object', properties: {}, additionalProperties: false },
};

const ASSISTANT_TYPES = /^(thinking|redacted_thinking|fallback|.+_tool_use|tool_use|.+_tool_result)$/;
const SYSTEM_TYPES = /^(tool_addition|tool_removal|mcp_tool_listing)$/;

/** The tools whose results are not called as they are. */
const SERVER_TOOLS_BY_RESULT: Readonly<Record<string, string>> = { tool_search_tool_result: 'tool_search_tool_regex' };

/** @returns a conversation in which a message may stand that has one block in it: with what the API wants before and behind */
function wrapInConversation([message]: Json[]): Json[] {
  const { role, content } = message as { role: string; content: unknown };
  const before = { role: 'user', content: 'x' };
  if (role === 'system') {
    const { effort = null } = ((message as Json).output_config ?? {}) as Json;
    return [before, content === undefined && effort === null ? { ...message, content: 'x' } : (message as Json)];
  }
  if (role !== 'user') return [before, message as Json];
  const [block] = (Array.isArray(content) ? content : []) as Json[];
  const type = String(block?.type);
  if (type === 'tool_result') {
    const use = { type: 'tool_use', id: block?.tool_use_id, name: 'x', input: {} };
    return [before, { role: 'assistant', content: [use] }, message as Json];
  }
  if (SYSTEM_TYPES.test(type)) return [before, { ...message, role: 'system' }];
  if (block?.citations && type === 'text') return [before, { ...message, role: 'assistant' }];
  if (!ASSISTANT_TYPES.test(type)) return [message as Json];
  const kind = type.startsWith('mcp_') ? { type: 'mcp_tool_use', server_name: 'x' } : { type: 'server_tool_use' };
  const use = {
    ...kind,
    id: block?.tool_use_id,
    name: SERVER_TOOLS_BY_RESULT[type] ?? type.replace(/_tool_result$/, ''),
    input: {},
  };
  const behind = { type: 'text', text: 'x' };
  const said = [...(type.endsWith('_result') ? [use] : []), block, ...(/thinking$/.test(type) ? [behind] : [])];
  const result = { role: 'user', content: [{ type: 'tool_result', tool_use_id: block?.id }] };
  return [before, { role: 'assistant', content: said }, ...(type === 'tool_use' ? [result] : [])];
}

/** @returns the same with the pictures that their media types name */
function addPictures(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(addPictures);
  if (typeof value !== 'object' || value === null) return value;
  const all: Json = Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, addPictures(inner)]));
  const picture = PICTURES[String(all.media_type)];
  return picture === undefined ? all : { ...all, data: picture };
}

const PLAIN_TOOL = { name: 'x', input_schema: { type: 'object' } };
const CODE_TOOL = { type: 'code_execution_20250825', name: 'code_execution' };

/** @returns the tools and servers of a body with those that it names, or needs beside them */
function completeTools(body: Json): Json {
  const { tools = [], mcp_servers: servers = [], container } = body as Record<'tools' | 'mcp_servers', Json[]> & Json;
  const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null;
  const toolsets = tools.filter((tool) => isObject(tool) && tool.type === 'mcp_toolset');
  const names = tools.flatMap((tool) => (isObject(tool) ? tool.name : []));
  const text = JSON.stringify(body);
  const needsPlain =
    body.tool_choice !== undefined ||
    /"url_sources"|"tool_reference"/.test(text) ||
    (tools.length > 0 && tools.every((tool) => isObject(tool) && tool.defer_loading === true));
  const plain = needsPlain ? [names.includes('x') ? { ...PLAIN_TOOL, name: 'y' } : PLAIN_TOOL] : [];
  const code =
    isObject(container) && container.skills !== undefined && !names.includes(CODE_TOOL.name) ? [CODE_TOOL] : [];
  const missing = servers.length > 0 && toolsets.length === 0 ? [{ type: 'mcp_toolset', mcp_server_name: 'x' }] : [];
  const all = [...tools, ...plain, ...code, ...missing];
  const connected =
    toolsets.length > 0 && servers.length === 0 ? [{ type: 'url', url: 'https://x.test', name: 'x' }] : servers;
  return {
    ...body,
    ...(all.length === 0 && body.tools === undefined ? {} : { tools: all }),
    ...(connected.length === 0 && body.mcp_servers === undefined ? {} : { mcp_servers: connected }),
  };
}

/** @returns a body whose case can be judged: the rest of it is valid */
export function completeBody(body: unknown): Json {
  const { messages, ...rest } = addPictures(body) as Json & { messages: Json[] };
  return { ...completeTools({ ...rest, messages }), messages: wrapInConversation(messages) };
}

/** A request that has something once. */
export interface SdkRequest {
  name: string;
  /** Whether the beta's own types say it. */
  isBeta: boolean;
  path: string;
  body: Json;
  /** The same with something strange in its place; undefined where there can be nothing. */
  unknownVariant: Json | undefined;
  /** The same with values of other JSON types in one place. */
  wrongTypes: Json[];
}

/** @returns a copy in which the object with the unknown member has this value instead; undefined for a body without one */
function replaceMember(value: unknown, member: string, wrong: unknown): unknown {
  if (Array.isArray(value)) return value.map((one) => replaceMember(one, member, wrong));
  if (typeof value !== 'object' || value === null) return value;
  const { [UNKNOWN_NAME]: unknown, ...rest } = value as Json;
  if (unknown !== undefined) return { ...rest, [member]: wrong };
  return Object.fromEntries(Object.entries(rest).map(([name, inner]) => [name, replaceMember(inner, member, wrong)]));
}

/** Members that the SDK sends as headers. */
export const HEADERS: readonly string[] = ['betas', 'user_profile_id', 'workspace_id'];

/** @returns a body as the SDK sends it */
function removeHeaderMembers(body: Json): Json {
  return Object.fromEntries(Object.entries(body).filter(([name]) => !HEADERS.includes(name)));
}

const completeBatch = ({ requests = [], ...rest }: Json) => ({
  ...removeHeaderMembers(rest),
  requests: (requests as Json[]).map((one) => ({ ...one, params: removeHeaderMembers(completeBody(one.params)) })),
});

const REQUEST_ROOTS: readonly [type: string, path: string, file: string, stage: (body: Json) => Json][] = [
  ['MessageCreateParams', '/v1/messages', 'messages', (body) => removeHeaderMembers(completeBody(body))],
  [
    'MessageCountTokensParams',
    '/v1/messages/count_tokens',
    'messages',
    (body) => removeHeaderMembers(completeBody(body)),
  ],
  ['BatchCreateParams', '/v1/messages/batches', 'batches', completeBatch],
];

/** @returns a request for each member and each variant of all that a message, a count or a batch can have. */
export function* createRequests(types: SdkTypes, samples: Readonly<Record<string, unknown>>): Generator<SdkRequest> {
  const values = new ValueGenerator({ ...SAMPLES, ...samples });
  for (const folder of ['resources/messages', 'resources/beta/messages']) {
    for (const [type, path, file, stage] of REQUEST_ROOTS) {
      for (const { name, value, unknownVariant: strange, member } of values.generateCases(
        types.readShape(`${folder}/${file}.d.ts`, type),
      )) {
        const unknownVariant = strange === undefined ? undefined : stage(strange as Json);
        const wrong = member === undefined || HEADERS.includes(member.name) ? [] : listWrongValues(member.shape);
        yield {
          name,
          isBeta: folder.includes('/beta/'),
          path,
          body: stage(value as Json),
          unknownVariant,
          wrongTypes: wrong.map((one) => replaceMember(unknownVariant, member?.name ?? '', one) as Json),
        };
      }
    }
  }
}
