/** The methods of the SDK's resources, with arguments that are made of their types. */

/** One way to call a method: by its least arguments, or with one member more. */
export interface CallForm {
  /** The member that is there besides; empty for the least. */
  addedMember: string;
  args: readonly unknown[];
}

export interface SdkCall {
  /** The resource's path in the client, such as `beta.messages`. */
  resource: string;
  method: string;
  /** What the arguments are called. */
  names: readonly string[];
  forms: readonly CallForm[];
}

/** Written by test/runner/sdk-calls.ts while this file is loaded: no runtime of tests but Node's reads the SDK's types. */
export const SDK_CALLS: readonly SdkCall[] = [];
