/** Which model a request is admitted for. */

import type { MeterRequest } from './metered-request.ts';

/** The model of a request, and those that may step in for it. It changes the request as they do. */
export class ModelChoice {
  readonly request: MeterRequest;
  /** The name by which the present model was asked for, where it is not the body's. */
  asked: string | undefined;
  /** The model that was asked for first, once another one has stepped in. */
  from: string | undefined;
  #left: readonly string[] | undefined;

  constructor(request: MeterRequest) {
    this.request = request;
    this.#left = request.fallbacks;
  }

  /** Takes the models of the account's limits, where the request has named none. */
  readonly allowFallbacks = (names: readonly string[] | undefined): void => {
    this.#left ??= names;
  };

  get hasNext(): boolean {
    return this.#left !== undefined && this.#left.length > 0;
  }

  /** @returns what makes the present model the one that is asked for again. */
  mark(): () => void {
    const { model } = this.request;
    const { asked, from } = this;
    return () => {
      this.request.model = model;
      Object.assign(this, { asked, from });
    };
  }

  /** Lets the next model step in. @returns false where there is none */
  next(): boolean {
    const { request } = this;
    for (const name of this.#left ?? []) {
      this.#left = this.#left?.slice(1);
      const model = request.settings.models.resolve(name);
      if (model === request.model) continue;
      this.from ??= request.model;
      this.asked = name;
      request.model = model;
      // It was counted by another tokenizer.
      request.count = undefined;
      return true;
    }
    return false;
  }
}
