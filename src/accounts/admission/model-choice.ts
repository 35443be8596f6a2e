/** Chooses the model for which a request is admitted. */

import type { MeterRequest } from './metered-request.ts';

/** The model of a request, and the models that may step in. It changes the request when one steps in. */
export class ModelChoice {
  readonly request: MeterRequest;
  /** The name by which the present model was asked for, if it is not the body's. */
  asked: string | undefined;
  /** The model that was asked for first; undefined until another one has stepped in. */
  from: string | undefined;
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
    return this.#left !== undefined && this.#left.length > 0;
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

  /** Lets the next model step in. @returns false if there is none */
  async next(): Promise<boolean> {
    const { request } = this;
    for (const name of this.#left ?? []) {
      this.#left = this.#left?.slice(1);
      const model = request.settings.models.resolve(name);
      if (model === request.model) continue;
      if (request.requestFor) request.body = await request.requestFor(model);
      this.from ??= request.model;
      this.asked = name;
      request.model = model;
      // The count was made with another model's tokenizer.
      request.count = undefined;
      return true;
    }
    return false;
  }
}
