/** Chooses the model for which a request is admitted. */

import type { Json } from '../../json/object.ts';
import { takes } from '../../pricing/takes.ts';
import { changedBody } from '../../upstream/request/body-up.ts';
import { ownOf } from '../../upstream/request/request-body.ts';
import type { MeterRequest } from './metered-request.ts';

/** The model of a request, and the models that may step in. It changes the request when one steps in. */
export class ModelChoice {
  readonly request: MeterRequest;
  /** The name by which the present model was asked for, if it is not the body's. */
  asked: string | undefined;
  /** The model that was asked for first; undefined until another one has stepped in. */
  from: string | undefined;
  #left: readonly string[] | undefined;
  /** The members that were changed for a model, as they were before. */
  readonly #asked: Json = {};

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
    const { asked, from } = this;
    return () => {
      Object.assign(this.request, { model, body });
      Object.assign(this, { asked, from });
    };
  }

  /** Lets the next model step in that takes the request. @returns false if there is none */
  async next(): Promise<boolean> {
    const { request } = this;
    const next = this.#next();
    if (!next) return false;
    const { name, model, asked, changes } = next;
    this.#left = this.#left?.slice(1);
    const changed = { ...this.#asked, ...changes };
    if (request.requestFor) request.body = await request.requestFor(model);
    else if (Object.keys(changed).length > 0) request.body = changedBody(request.body, changed);
    for (const member of Object.keys(changes)) this.#asked[member] = asked[member];
    this.from ??= request.model;
    this.asked = name;
    request.model = model;
    // The count was made with another model's tokenizer.
    request.count = undefined;
    return true;
  }

  /** @returns the next model that takes the request, and what is changed for it. Those before it are passed over */
  #next(): { name: string; model: string; asked: Json; changes: Json } | undefined {
    const { body, model: present, requestFor, settings } = this.request;
    const { models } = settings;
    for (const name of this.#left ?? []) {
      const model = models.resolve(name);
      const asked = { ...ownOf(body), ...this.#asked };
      // The edge's own requests are written for each model.
      const row = requestFor ? undefined : models.find(model);
      const { changes, refused } = takes(row, asked, models.find(this.from ?? present));
      if (model !== present && !refused) return { name, model, asked, changes };
      this.#left = this.#left?.slice(1);
    }
    return undefined;
  }
}
