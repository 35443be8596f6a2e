/**
 * Answers like Claude at Amazon, Google and Microsoft, as far as their clients can notice a difference: their addresses, their
 * credentials, and where a request names the model. Their requests are changed into the form of the Claude API.
 */

import type { JsonObject } from '#api-rules/json.ts';
import { ApiError, createInvalidRequestError } from '#simulator/request/errors.ts';
import { readJsonObjectBody } from '#simulator/request/request-body.ts';

/** A refusal in the form of Amazon or Google, to be thrown before the simulated Claude API is reached. */
class ServiceRejection extends Error {
  readonly response: Response;

  constructor(status: number, body: Record<string, unknown>, headers: Record<string, string> = {}) {
    super(`refused with ${status}`);
    this.response = Response.json(body, { status, headers: { 'sluice-upstream': 'simulator', ...headers } });
  }
}

function amazonRejection(type: string, message: string): ServiceRejection {
  return new ServiceRejection(403, { message }, { 'x-amzn-errortype': type });
}

function googleRejection(code: number, status: string, message: string): ServiceRejection {
  return new ServiceRejection(code, { error: { code, message, status } });
}

/** A service, and the parts of a request's URL that belong to it. */
type Service =
  | { name: 'aws' | 'bedrock'; region: string; path: string }
  | { name: 'foundry'; path: string }
  | { name: 'vertex'; model: string; method: string };

const VERTEX_PATH = /\/projects\/[^/]+\/locations\/[^/]+\/publishers\/anthropic\/models\/([^/:]+):(\w+)$/;
const AMAZON_HOST = /^(aws-external-anthropic|bedrock-mantle)\.([a-z0-9-]+)\./;

/** @returns the service of a URL; undefined for the Claude API and any gateway before it */
function findService({ hostname, pathname }: URL): Service | undefined {
  const [, model, method] = VERTEX_PATH.exec(pathname) ?? [];
  if (model !== undefined && method !== undefined) return { name: 'vertex', model: decodeURIComponent(model), method };
  const [, amazon, region = ''] = AMAZON_HOST.exec(hostname) ?? [];
  if (amazon === 'aws-external-anthropic') return { name: 'aws', region, path: pathname };
  const within = /^\/anthropic(\/.*)$/.exec(pathname)?.[1] ?? '/';
  if (amazon !== undefined) return { name: 'bedrock', region, path: within };
  return hostname.includes('.services.ai.') ? { name: 'foundry', path: within } : undefined;
}

/**
 * Answers a request to one of the services. Any other request is passed on unchanged.
 *
 * @param answer answers a request to the Claude API
 */
export async function answerAsService(
  request: Request,
  answer: (request: Request) => Promise<Response>,
): Promise<Response> {
  const url = new URL(request.url);
  const service = findService(url);
  if (!service) return await answer(request);
  let asked: Request;
  try {
    asked = await toClaudeRequest(request, url, service);
  } catch (thrown) {
    if (thrown instanceof ServiceRejection) return thrown.response;
    if (!(thrown instanceof ApiError)) throw thrown;
    const headers = { 'content-type': 'application/json', 'sluice-upstream': 'simulator', ...thrown.headers };
    return new Response(thrown.toEnvelopeJson('req_simulator'), { status: thrown.status, headers });
  }
  const answered = await answer(asked);
  if (answered.status !== 404) return answered;
  // Beside the model, their requests name nothing that may be missing.
  if (service.name === 'vertex') {
    return googleRejection(404, 'NOT_FOUND', `Publisher Model \`${url.pathname.slice(4)}\` was not found.`).response;
  }
  // For a missing batch or file, the answer is the Claude API's own 404.
  if (service.name !== 'foundry' || !isMessagesPath(service.path)) return answered;
  const error = { code: 'DeploymentNotFound', message: 'The API deployment for this resource does not exist.' };
  return new ServiceRejection(404, { error }).response;
}

async function toClaudeRequest(request: Request, url: URL, service: Service): Promise<Request> {
  const headers = new Headers(request.headers);
  if (service.name === 'vertex') return await fromVertex(request, url, service, headers);
  const { path } = service;
  if (service.name === 'aws' && !headers.get('anthropic-workspace-id')) {
    throw createInvalidRequestError('anthropic-workspace-id: header is required');
  }
  if (service.name !== 'foundry') await checkAmazonCredentials(request, url, service, headers);
  const asksMessages = isMessagesPath(path);
  if (!asksMessages && !supportsPath(service)) throw new ApiError(404, 'Not found');
  const target = new URL(path + url.search, url);
  if (!asksMessages) return new Request(target, request);
  const body = await readJsonObjectBody(request);
  if (service.name === 'bedrock') {
    body.model = modelFromBedrock(body.model);
    delete body.user_profile_id;
  }
  return createPost(target, headers, body, request.signal);
}

function isMessagesPath(path: string): boolean {
  return /^\/v1\/messages(\/count_tokens)?$/.test(path);
}

/** @returns whether a service supports a path that is neither for messages nor for their counts. */
function supportsPath({ name, path }: Exclude<Service, { name: 'vertex' }>): boolean {
  return name === 'aws' || (name === 'foundry' && path.startsWith('/v1/files'));
}

function createPost(url: URL, headers: Headers, body: JsonObject, signal: AbortSignal): Request {
  // The body has changed, so its length has, too.
  headers.delete('content-length');
  return new Request(url, { method: 'POST', headers, body: JSON.stringify(body), signal });
}

function modelFromBedrock(model: unknown): string {
  const [, id] = /^(?:[a-z]+\.)?anthropic\.(claude-.+)$/.exec(String(model)) ?? [];
  if (id === undefined) throw new ApiError(404, `model: ${String(model)}`);
  return id;
}

async function fromVertex(
  request: Request,
  url: URL,
  { model, method }: Extract<Service, { name: 'vertex' }>,
  headers: Headers,
): Promise<Request> {
  if (!/^bearer\s+\S/i.test(headers.get('authorization') ?? '')) {
    throw googleRejection(401, 'UNAUTHENTICATED', 'Request is missing required authentication credential.');
  }
  const counts = model === 'count-tokens';
  if (request.method !== 'POST' || !(method === 'rawPredict' || (method === 'streamRawPredict' && !counts))) {
    throw googleRejection(404, 'NOT_FOUND', `The method ${method} was not found.`);
  }
  const { anthropic_version: version, ...body } = await readJsonObjectBody(request);
  if (typeof version !== 'string') throw createInvalidRequestError('anthropic_version: Field required');
  if (!counts) {
    if (body.model !== undefined) throw createInvalidRequestError('model: Extra inputs are not permitted');
    if ((body.stream ?? false) !== (method === 'streamRawPredict'))
      throw createInvalidRequestError(`stream: not allowed with ${method}`);
    body.model = model;
  }
  // There a snapshot's date comes after an @.
  if (typeof body.model === 'string') body.model = body.model.replace('@', '-');
  headers.set('anthropic-version', version === 'vertex-2023-10-16' ? '2023-06-01' : version);
  const target = new URL(counts ? '/v1/messages/count_tokens' : '/v1/messages', url);
  return createPost(target, headers, body, request.signal);
}

const SERVICE_NAMES = { aws: 'aws-external-anthropic', bedrock: 'bedrock-mantle' };
/** Milliseconds before and after its date in which a signature is valid. */
const SIGNATURE_SKEW_MS = 15 * 60_000;

/**
 * Checks an API key, or everything in a signature that can be checked without its secret. The access key becomes the account.
 */
async function checkAmazonCredentials(
  request: Request,
  { host }: URL,
  { name, region }: Extract<Service, { name: 'aws' | 'bedrock' }>,
  headers: Headers,
): Promise<void> {
  const given = headers.get('authorization') ?? '';
  if (!given.startsWith('AWS4-HMAC-SHA256')) {
    if (name === 'bedrock' && !/^bearer\s+\S/i.test(given)) {
      throw amazonRejection('MissingAuthenticationTokenException', 'Missing Authentication Token');
    }
    return;
  }
  const [, accessKeyId, day, scope, names = ''] =
    /^AWS4-HMAC-SHA256 Credential=([A-Z0-9]+)\/(\d{8})\/(\S+)\/aws4_request, SignedHeaders=(\S+), Signature=[0-9a-f]{64}$/.exec(
      given,
    ) ?? [];
  const date = headers.get('x-amz-date') ?? '';
  const signed = new Set(names.split(';'));
  const own = [...headers.keys()].filter((header) => header.startsWith('x-amz-'));
  const expected = `${region}/${SERVICE_NAMES[name]}`;
  const at = Date.parse(date.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, '$1-$2-$3T$4:$5:$6Z'));
  const content = headers.get('x-amz-content-sha256');
  const fault =
    accessKeyId === undefined
      ? 'Authorization header is not well-formed.'
      : scope !== expected
        ? `Credential should be scoped to a valid region and service: ${expected}.`
        : !date.startsWith(day ?? '-') || !(Math.abs(Date.now() - at) < SIGNATURE_SKEW_MS)
          ? `Signature expired, or not yet current: ${date}.`
          : !signed.has('host') || own.some((header) => !signed.has(header))
            ? `These must be signed: host, ${own.join(', ')} (${host}).`
            : content !== null && content !== (await hashBody(request.clone()))
              ? 'The request signature we calculated does not match the signature you provided.'
              : undefined;
  if (fault !== undefined) throw amazonRejection('InvalidSignatureException', fault);
  headers.set('authorization', `Bearer ${accessKeyId}`);
}

async function hashBody(request: Request): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', await request.arrayBuffer()));
  return [...hash].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
