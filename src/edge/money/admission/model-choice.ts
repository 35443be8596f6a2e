import { takes } from '../../claude/pricing/takes.ts';
import { ownOf } from '../../claude/request/request-body.ts';
import type { Json } from '../../kit/json/object.ts';
import type { MeterRequest } from './metered-request.ts';

/** The model of a request, and the models that may step in. It changes the request when one steps in. */
export class ModelChoice {
  readonly request: MeterRequest;
  /** The name by which the present model was asked for, if it is not the body's. */
  asked: string | undefined;
  /** The model that was asked for first; undefined until another one has stepped in. */
  from: string | undefined;
  /** What is changed of the body for the present model. */
  changes: Json = {};
  #left: readonly string[] | undefined;

  constructor(request: MeterRequest) {
    this.request = request;
    this.#left = request.fallbacks;
  }

  /** Uses the fallback models of the account's limits, if the request has named none. */
  readonly allowFallbacks = (names: readonly string[] | undefined): void => {
    this.#left ??= names;
  };

  get hasNext(): boolean {
    return this.#next() !== undefined;
  }

  /** @returns a function that goes back to the present model. */
  mark(): () => void {
    const { model, body } = this.request;
    const { asked, from, changes } = this;
    return () => {
      Object.assign(this.request, { model, body });
      Object.assign(this, { asked, from, changes });
    };
  }

  /** Lets the next model step in that takes the request. @returns false if there is none */
  async next(): Promise<boolean> {
    const { request } = this;
    const next = this.#next();
    if (!next) return false;
    this.#left = this.#left?.slice(1);
    if (request.requestFor) request.body = await request.requestFor(next.model);
    this.from ??= request.model;
    this.asked = next.asked;
    this.changes = next.changes;
    request.model = next.model;
    // The count was made with another model's tokenizer.
    if (request.count !== null) request.count = undefined;
    return true;
  }

  /** Passes over models that refuse the request. @returns the next one, and what is changed for it */
  #next(): (Pick<ModelChoice, 'changes'> & { asked: string; model: string }) | undefined {
    const { body, model: present, requestFor, settings } = this.request;
    const { models } = settings;
    for (const asked of this.#left ?? []) {
      const model = models.resolve(asked);
      // The edge's own requests are written for each model.
      const row = requestFor ? undefined : models.find(model);
      const { changes, refused } = takes(row, ownOf(body), models.find(this.from ?? present));
      if (model !== present && !refused) return { asked, model, changes };
      this.#left = this.#left?.slice(1);
    }
    return undefined;
  }
}
