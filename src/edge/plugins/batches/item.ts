/** Checks each item of a new batch like a message, bounds its cost, and puts its prefix before it. */
import type { Context } from 'hono';
import { type AppEnv, getRequestContext } from '../../auth/context.ts';
import { defaultedRequest, validateMessages } from '../../claude/messages.schema.ts';
import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { computeMaximumCost } from '../../claude/pricing/maximum-cost.ts';
import { NO_FEATURES } from '../../claude/pricing/prompt-features.ts';
import { createFieldOpenToTest, listFieldNames } from '../../claude/request/all-fields.ts';
import {
  canAnswerCreateResources,
  findReferencedIds,
  findResourceIdsInRequest,
} from '../../claude/request/referenced-ids.ts';
import { applyUserIdSetting } from '../../claude/request/user-id.ts';
import type { UpstreamBoundResourceKind } from '../../claude/upstreams/pool.ts';
import type { CreatedId } from '../../claude/usage/created-ids.ts';
import { restoreEdgeCallsInBody } from '../../conversations/views/edge-blocks.ts';
import type { JsonBody } from '../../kit/http/body/json-body.ts';
import { replacePlaceholdersByPieces } from '../../kit/http/body-pieces.ts';
import { decoder, encoder } from '../../kit/http/bytes.ts';
import { ApiError, createInvalidRequestError, createNonRetryableError } from '../../kit/http/errors.ts';
import { parseCommaList } from '../../kit/http/headers/comma-list.ts';
import { LongStringBody } from '../../kit/http/long-body.ts';
import { getBodySize, parseLongJsonInSteps, removeRepeatedKeysFromBody } from '../../kit/http/read-json.ts';
import { validateBySchema } from '../../kit/http/validate.ts';
import { editJson, parseMemberTexts } from '../../kit/json/edit.ts';
import { isObject } from '../../kit/json/object.ts';
import { memoizeFromPlugins } from '../../kit/plugins/plugins.ts';
import { createResourceNotFoundError, requireResourcesOwnedByAccount } from '../../money/admission/check-owned.ts';
import { parseBodyWithPause } from '../../money/admission/read-body.ts';
import { expandPrefix, type ParsedPrefix, rejectPrefixWithRunTools } from '../../registry/prefixes/prefix.ts';
import { PREFIXES } from '../../registry/prefixes/prefix-kind.ts';
import { PREFIX_MEMBER } from '../../registry/prefixes/prefixes.schema.ts';
import { rejectReservedServerName } from '../../registry/tools/edge-tools.ts';
import { requireStoredVersion } from '../../registry/versions/find-stored.ts';
import { createVersionReader } from '../../registry/versions/versioned-routes.ts';
import { batchItem } from './batches.schema.ts';
import type { BatchTarget } from './upstream-batches.ts';

/** An item that may be sent. */
export interface CostBoundedItem {
  customId: string;
  /** Its bytes as they are sent, in pieces. */
  pieces: readonly Uint8Array[];
  /** The row of its model in the price table; undefined if the model is not in it. */
  model: string | undefined;
  /** Every model that may be billed, each with all of its names. */
  models: readonly string[][];
  known: boolean;
  /** The most that it can cost, at half price. */
  cost: Nanodollars;
  /** Whether it requests a cache lifetime of an hour. */
  cachesLong: boolean;
  /** Whether its answer may contain ids of things that it makes. */
  makesThings: boolean;
}

const QUOTED_ID = /"custom_id"\s*:\s*"([a-zA-Z0-9_-]{1,64})"/;
/** How many bytes of an item that cannot be parsed are searched for its id. */
const SEARCHED_BYTES = 4_096;
/** Members that are for the edge alone, and not for items. */
const notInItems = memoizeFromPlugins(() => listFieldNames((member) => !createFieldOpenToTest('item')(member)));
/** The most prefixes of a batch. Each is read once, so that all items have the same version. */
const MOST_PREFIXES = 100;

/** The longest id that is looked up. Ids of the API are much shorter. */
const LONGEST_ID = 256;
/** The most ids that items may name. They are kept until the body has come, and checked in one call. */
const MOST_NAMED_IDS = 5_000;

/** The part of a request's context that creating a batch needs. */
type BatchRequestContext = Pick<Context<AppEnv>, 'env' | 'get'>;

/**
 * Chooses the upstream of a batch.
 *
 * @param only the upstream that has the resources which the first item names
 * @param model the model of that item
 * @param owned the kind of resource that its prefix names, if it is unknown which upstream has it
 */
type ChooseBatchTarget = (
  requiredUpstream: string | undefined,
  model: string,
  boundResource: UpstreamBoundResourceKind | undefined,
) => BatchTarget;

/** A prefix, and the resources that it names: ids of its own account, or a file of the deployment. */
interface PrefixWithReferencedIds {
  prefix: ParsedPrefix;
  ids: readonly CreatedId[];
  boundResource: UpstreamBoundResourceKind | undefined;
}

const NO_PREFIX = { ids: [], boundResource: undefined } as const;

/** Checks and bounds the items of one batch. */
export class BatchItemReader {
  readonly #c: BatchRequestContext;
  readonly #targetFor: ChooseBatchTarget;
  #target: BatchTarget | undefined;
  readonly #named = new Map<string, CreatedId>();
  readonly #betas: readonly string[];
  readonly #prefixes = new Map<string, PrefixWithReferencedIds>();

  /**
   * @param headers those of the request that makes the batch
   * @param targetFor chooses the upstream, once the first item is known
   */
  constructor(c: BatchRequestContext, headers: Headers, targetFor: ChooseBatchTarget) {
    this.#c = c;
    this.#targetFor = targetFor;
    this.#betas = parseCommaList(headers.get('anthropic-beta') ?? '');
  }

  /** @returns where the batch goes; undefined until an item has been read. */
  get chosenTarget(): BatchTarget | undefined {
    return this.#target;
  }

  /**
   * Checks that everything that the items name belongs to the account, and is at the batch's upstream.
   *
   * @throws ApiError 404 for a thing that does not belong to the account, 400 for a thing at another upstream
   */
  async requireOwnedResources(): Promise<void> {
    const required = await requireResourcesOwnedByAccount(getRequestContext(this.#c), [...this.#named.values()]);
    const name = this.#target?.name;
    if (required !== undefined && name !== undefined && required !== name)
      throw createWrongUpstreamError(name, required);
  }

  /**
   * @param bytes the item as it came
   * @param index its place in the list
   * @throws ApiError that names the item by its place and, where it can be read, its `custom_id`
   */
  async parseAndBoundItem(bytes: Uint8Array, index: number): Promise<CostBoundedItem> {
    let customId: string | undefined;
    try {
      const parsed = await parseBodyWithPause(parseLongJsonInSteps(bytes));
      const item = removeRepeatedKeysFromBody(parsed, 'outermost');
      const { custom_id } = validateBySchema(batchItem, item.json);
      customId = custom_id;
      return await this.#boundItemCost(item, custom_id, item === parsed ? bytes : undefined);
    } catch (thrown) {
      throw thrown instanceof ApiError
        ? addItemPathToError(thrown, index, customId ?? findCustomIdInBytes(bytes))
        : thrown;
    }
  }

  async #boundItemCost(item: JsonBody, customId: string, bytes: Uint8Array | undefined): Promise<CostBoundedItem> {
    const { ids, body: sent } = findReferencedIds(await restoreEdgeCallsInBody(extractItemParams(item)));
    // A text whose number of characters equals its number of bytes is ASCII, so it need not be encoded only to count its bytes.
    const isAscii = item.text.length === bytes?.length;
    rejectStatefulFeatures(sent.json);
    const { settings, identity } = getRequestContext(this.#c);
    const named = sent.json.prefix === undefined ? undefined : await this.#resolveItemPrefix(sent);
    const { ids: before, boundResource } = named ?? NO_PREFIX;
    const prefixed = named ? applyPrefixToItem(sent, named.prefix) : sent;
    const params = await applyUserIdSetting(prefixed, settings, identity.account);
    const request = validateMessages(params.json);
    const model = settings.models.resolveAlias(request.model);
    const all = before.length === 0 ? ids : [...before, ...ids];
    this.#collectReferencedIds(all);
    // Select the upstream by the first item, because the upload starts before the other items are read.
    this.#target ??= this.#targetFor(
      await requireResourcesOwnedByAccount(getRequestContext(this.#c), all),
      model,
      boundResource,
    );
    const { models, name = '' } = this.#target;
    const { name: there = '' } =
      boundResource === undefined ? this.#target : this.#targetFor(undefined, model, boundResource);
    if (there !== name) throw createWrongUpstreamError(name, there);
    const idThere = this.#target.getUpstreamModelId(model);
    if (idThere === undefined) {
      throw createInvalidRequestError(
        `model: the upstream of batches does not support ${model.slice(0, 128)}. Use another model, or send the item to POST /v1/messages.`,
      );
    }
    const { row, isListed } = models.findPriceRow(model);
    const { readings = params } = params;
    const { maximumCost, terms } = computeMaximumCost(
      { ...params.json, model },
      {
        bytes: params === sent && isAscii ? params.text.length : getBodySize(params),
        readings: readings ?? undefined,
        lengthOf: params instanceof LongStringBody ? params.getStringByteLength.bind(params) : undefined,
        models,
        betas: this.#betas,
        asked: request.model,
        before: NO_FEATURES,
        batch: true,
      },
    );
    return {
      customId,
      pieces: serializeItemPieces(item, bytes, sent, params, idThere === request.model ? undefined : idThere),
      model: isListed ? row.id : undefined,
      models: maximumCost.models,
      known: maximumCost.isPriced,
      cost: maximumCost.inputCost + maximumCost.outputTokens * maximumCost.outputPrice,
      cachesLong: terms.cache === '1h',
      makesThings: canAnswerCreateResources(params.json),
    };
  }

  /** Collects the ids that an item names. All ids are checked together when the body has arrived. */
  #collectReferencedIds(ids: readonly CreatedId[]): void {
    for (const one of ids) {
      if (one.id.length > LONGEST_ID) throw createResourceNotFoundError(one);
      this.#named.set(`${one.kind} ${one.id}`, one);
    }
    if (this.#named.size > MOST_NAMED_IDS) {
      throw createInvalidRequestError(
        `A batch can refer to at most ${MOST_NAMED_IDS} files, containers and threads. Split it into several batches.`,
      );
    }
  }

  async #resolveItemPrefix(params: JsonBody): Promise<PrefixWithReferencedIds> {
    const ref = validateBySchema(PREFIX_MEMBER.schema, params.json.prefix, 'prefix') ?? '';
    validateBySchema(defaultedRequest, params.json);
    let named = this.#prefixes.get(ref);
    if (!named) {
      const { value: prefix, owner } = await requireStoredVersion(PREFIXES, createVersionReader(this.#c), ref);
      rejectPrefixWithRunTools(prefix);
      if (this.#prefixes.size >= MOST_PREFIXES)
        throw createInvalidRequestError(
          `prefix: a batch can use at most ${MOST_PREFIXES} prefixes. Split it into several batches.`,
        );
      const ids = findResourceIdsInRequest({ ...prefix.content });
      // Skip the ownership check for a prefix of the deployment: its files belong to the deployment, and were checked when the
      // prefix was stored.
      const isOwn = owner === getRequestContext(this.#c).identity.account;
      const boundResource = isOwn || ids.length === 0 ? undefined : 'a file';
      named = { prefix, ids: isOwn ? ids : [], boundResource };
      this.#prefixes.set(ref, named);
    }
    return named;
  }
}

/** @returns an item's `params` with its prefix before them. */
function applyPrefixToItem(params: JsonBody, prefix: ParsedPrefix): JsonBody {
  const { model, max_tokens } = prefix.content;
  return expandPrefix(params, prefix, { model, max_tokens });
}

/** @returns the error for an item that names something at another upstream. */
function createWrongUpstreamError(name: string, required: string): ApiError {
  return createNonRetryableError(
    'invalid_request_error',
    `The batch is sent to the upstream ${name}, but items refer to files, containers or threads of ${required}. Move one of these items to the first position, because the first item determines the upstream.`,
  );
}

/** @returns the `params` of an item as a separate body, with each key once. */
function extractItemParams(item: JsonBody): JsonBody {
  const text = parseMemberTexts(item.text).get('params') ?? '{}';
  const json = item.json.params as Record<string, unknown>;
  const body = item instanceof LongStringBody ? item.replaceText(text, json) : new LazilyEncodedBody(text, json);
  return removeRepeatedKeysFromBody(body, 'outermost');
}

/**
 * A body whose bytes are made only when they are read. It is a class, because the engine makes a shape for each object
 * literal with a getter, and the shape keeps the item in memory until a full garbage collection.
 */
class LazilyEncodedBody implements JsonBody {
  readonly text: string;
  readonly json: Record<string, unknown>;
  #bytes: Uint8Array | undefined;

  constructor(text: string, json: Record<string, unknown>) {
    this.text = text;
    this.json = json;
  }

  get bytes(): Uint8Array {
    this.#bytes ??= encoder.encode(this.text);
    return this.#bytes;
  }
}

/**
 * @param bytes the item as it came; undefined if it repeated a key
 * @returns the bytes of an item as it is sent: unchanged if nothing changes
 */
function serializeItemPieces(
  item: JsonBody,
  bytes: Uint8Array | undefined,
  whole: JsonBody,
  params: JsonBody,
  model: string | undefined,
): readonly Uint8Array[] {
  const came = parseMemberTexts(item.text).get('params');
  if (bytes && params === whole && model === undefined && whole.text === came) return [bytes];
  const text = model === undefined ? params.text : editJson(params.text, { model: JSON.stringify(model) });
  const sources = [item, params].flatMap((body) => (body instanceof LongStringBody ? body.sources : []));
  return replacePlaceholdersByPieces(editJson(item.text, { params: text }), sources);
}

/** @throws ApiError 400 for features that an item of a batch cannot have, such as a conversation */
function rejectStatefulFeatures(params: Record<string, unknown>): void {
  const tools = Array.isArray(params.tools) ? params.tools : [];
  const at = tools.findIndex((tool) => isObject(tool) && tool.run !== undefined);
  const own = notInItems().find((name) => params[name] !== undefined);
  const name = own ?? (at < 0 ? undefined : `tools.${at}.run`);
  if (name !== undefined)
    throw createInvalidRequestError(
      `${name}: not supported in batches. Remove it, or send this item to POST /v1/messages.`,
    );
  rejectReservedServerName(params);
}

/** @returns the same error, with a message that names the item. */
function addItemPathToError(error: ApiError, index: number, customId: string | undefined): ApiError {
  const named = customId === undefined ? '' : ` (custom_id ${customId})`;
  const [, field] = /^([a-z_]+)[.:]/.exec(error.message) ?? [];
  const path = field === undefined ? ': ' : /^(custom_id|params)$/.test(field) ? '.' : '.params.';
  return new ApiError(error.type, `requests.${index}${path}${error.message}${named}`, { ...error, cause: error });
}

function findCustomIdInBytes(bytes: Uint8Array): string | undefined {
  return QUOTED_ID.exec(decoder.decode(bytes.subarray(0, SEARCHED_BYTES)))?.[1];
}
