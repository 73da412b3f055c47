// Every call of gorsejs, against the node at the address and with the key that are given.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [folder, endpoint, secret] = process.argv.slice(2);
const { Gorse, GorseException } = createRequire(`${folder}/`)("gorsejs");
const client = new Gorse({ endpoint, secret });
const Timestamp = "2022-08-07T00:26:46Z";

const user = { UserId: "js", Labels: ["a", "b"], Comment: "comment" };
assert.equal(await client.insertUser(user), 1);
assert.deepEqual(await client.getUser("js"), user);
assert.equal(await client.updateUser("js", { Comment: "other" }), 1);
assert.equal((await client.getUser("js")).Comment, "other");
assert.equal(await client.insertUsers([{ UserId: "js2" }, { UserId: "js3" }]), 2);
assert.equal((await client.getUsers({ n: 3 })).Users.length, 3);

const item = { ItemId: "js", IsHidden: true, Labels: ["x"], Categories: ["c1"], Timestamp, Comment: "tea" };
assert.equal(await client.upsertItem(item), 1);
assert.deepEqual(await client.getItem("js"), item);
assert.equal(await client.updateItem("js", { IsHidden: false, Comment: "green tea" }), 1);
assert.equal(await client.insertItemCategory("js", "c2"), 1);
assert.deepEqual((await client.getItem("js")).Categories, ["c1", "c2"]);
assert.equal(await client.deleteItemCategory("js", "c1"), 1);
assert.deepEqual((await client.getItem("js")).Categories, ["c2"]);
assert.equal(await client.upsertItems([{ ...item, ItemId: "js2" }]), 1);
assert.equal((await client.getItems({ n: 4 })).Items.length, 4);

const star = { FeedbackType: "star", UserId: "js", ItemId: "js", Timestamp };
assert.equal(await client.insertFeedbacks([star, { ...star, FeedbackType: "like" }]), 2);
assert.equal(await client.upsertFeedbacks([{ ...star, Comment: "new" }]), 1);
const one = await client.getFeedback({ type: "star", userId: "js", itemId: "js" });
assert.equal(one.Comment, "new");
assert.equal(one.Timestamp, Timestamp);
assert.equal((await client.getFeedbacks(undefined, { n: 5 })).Feedback.length, 5);
assert.equal((await client.getFeedbacks("like", { n: 5 })).Feedback.length, 1);
assert.equal((await client.getUserFeedback("js")).length, 2);
assert.equal((await client.getUserFeedbackByType("js", "like")).length, 1);
assert.equal((await client.getItemFeedback("js")).length, 2);
assert.equal((await client.getItemFeedbackByType("js", "star")).length, 1);
const removed = await client.deleteFeedback({ type: "like", userId: "js", itemId: "js" });
assert.equal(removed.RowAffected, 1);

const n = 3;
assert.equal((await client.getPopular({ cursorOptions: { n } })).length, n);
assert.equal((await client.getPopular({ category: "c1", cursorOptions: { n } })).length, n);
assert.equal((await client.getLatest({ category: "c2", cursorOptions: { n } }))[0].Id, "js");
const options = { userId: "u1", cursorOptions: { n }, writeBackType: "read", writeBackDelay: "0s" };
const first = await client.getRecommend(options);
assert.equal(first.length, n);
const next = await client.getRecommend({ ...options, category: "c0" });
assert.ok(!next.some((id) => first.includes(id)));
assert.equal((await client.getSessionRecommend([star], { cursorOptions: { n } })).length, n);
assert.equal((await client.getItemNeighbors({ itemId: "i1", cursorOptions: { n } })).length, n);
assert.ok(Array.isArray(await client.getUserNeighbors({ userId: "u1", cursorOptions: { n } })));

for (const id of ["js", "js2"]) assert.equal(await client.deleteItem(id), 1);
for (const id of ["js", "js2", "js3"]) assert.equal(await client.deleteUser(id), 1);
await assert.rejects(client.getUser("js"), GorseException);
