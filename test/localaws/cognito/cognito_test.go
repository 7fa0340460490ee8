package cognito

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cognito-backup/test/localaws/model"
	"cognito-backup/test/localaws/wire"
)

const region = "ap-northeast-1"

// bench is a Region under test.
type bench struct {
	*testing.T
	*Service
	clock *testClock
	mails []Mail
}

// testClock is a clock that jumps when told to.
type testClock struct {
	mu  sync.Mutex
	off time.Duration
}

func (c *testClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off += d
}

func (c *testClock) offset() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.off
}

func newBench(t *testing.T) *bench {
	t.Helper()
	clock := &testClock{}
	b := &bench{T: t, clock: clock}
	b.Service = New(region, &wire.Clock{Factor: 1000, Offset: clock.offset})
	b.OnMail = func(m Mail) { b.mails = append(b.mails, m) }
	b.Settings().NoQuotas()
	t.Cleanup(b.Close)
	return b
}

type in map[string]any

// api is AWS's model of the service: every call of these tests is held to it.
var api = model.For("cognito-idp")

// AWS breaks its own model in these members of its answers: the schema has
// phone_number_verified (21 characters of 20), prefixed custom attributes and up to
// 71 entries of 50; completion messages have spaces where only word characters match.
var (
	schemaNames        = regexp.MustCompile(`"Name":"(phone_number_verified|custom:[^"]*)",("AttributeDataType")`)
	completionMessages = regexp.MustCompile(`"CompletionMessage":"[^"]*"`)
)

// modelled is an answer with those members made to fit.
func modelled(text []byte) []byte {
	text = schemaNames.ReplaceAll(text, []byte(`"Name":"x",$2`))
	text = completionMessages.ReplaceAll(text, []byte(`"CompletionMessage":"x"`))
	var m map[string]any
	if json.Unmarshal(text, &m) != nil {
		return text
	}
	if pool, ok := m["UserPool"].(map[string]any); ok {
		if list := pool["SchemaAttributes"].([]any); len(list) > 50 {
			pool["SchemaAttributes"] = list[:50]
			text, _ = json.Marshal(m)
		}
	}
	return text
}

// documentedOnly are errors that the reference describes in its text and leaves
// out of the operation's list.
func documentedOnly(operation, code string) bool {
	return operation == "AdminCreateUser" && code == "AliasExistsException" // ForceAliasCreation
}

// try makes a call as the gateway does and returns the answer as JSON would show it.
func (b *bench) try(operation string, input in) (map[string]any, error) {
	b.Helper()
	text, err := json.Marshal(input)
	if err != nil {
		b.Fatal(err)
	}
	if err := api.ValidateRequest(operation, text); err != nil {
		return nil, err
	}
	out, err := b.Handle(context.Background(), &wire.Call{
		Service: "cognito-idp", Operation: operation, Region: region, Input: text, Endpoint: "http://127.0.0.1:1",
	})
	if err != nil {
		var e *wire.Error
		if !errors.As(err, &e) {
			b.Fatalf("%s: not an AWS error: %v", operation, err)
		}
		if err := api.ValidateError(operation, e); err != nil && !documentedOnly(operation, e.Code) {
			b.Error(err)
		}
		return nil, err
	}
	text, err = json.Marshal(out)
	if err != nil {
		b.Fatal(err)
	}
	if err := api.ValidateResponse(operation, modelled(text)); err != nil {
		b.Error(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		b.Fatal(err)
	}
	return m, nil
}

func (b *bench) call(operation string, input in) map[string]any {
	b.Helper()
	out, err := b.try(operation, input)
	if err != nil {
		b.Fatalf("%s: %v", operation, err)
	}
	return out
}

// refused expects an error of a code whose message contains a text.
func (b *bench) refused(code, text, operation string, input in) {
	b.Helper()
	_, err := b.try(operation, input)
	var e *wire.Error
	if !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Message, text) {
		b.Errorf("%s: got %v, want %s with %q", operation, err, code, text)
	}
}

func (b *bench) newPool(input in) string {
	b.Helper()
	if input == nil {
		input = in{}
	}
	input["PoolName"] = "test"
	return b.call("CreateUserPool", input)["UserPool"].(map[string]any)["Id"].(string)
}

// attrs makes attributes of name, value pairs.
func attrs(pairs ...string) []in {
	list := []in{}
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, in{"Name": pairs[i], "Value": pairs[i+1]})
	}
	return list
}

func (b *bench) create(pool, username string, pairs ...string) map[string]any {
	b.Helper()
	return b.call("AdminCreateUser", in{
		"UserPoolId": pool, "Username": username, "UserAttributes": attrs(pairs...), "MessageAction": "SUPPRESS",
	})["User"].(map[string]any)
}

func (b *bench) get(pool, username string) map[string]any {
	b.Helper()
	return b.call("AdminGetUser", in{"UserPoolId": pool, "Username": username})
}

// value is an attribute in a UserType or an AdminGetUser answer.
func value(user map[string]any, name string) string {
	list, _ := user["Attributes"].([]any)
	if list == nil {
		list, _ = user["UserAttributes"].([]any)
	}
	for _, a := range list {
		if m := a.(map[string]any); m["Name"] == name {
			return m["Value"].(string)
		}
	}
	return ""
}

// chain follows a listing to its end.
func (b *bench) chain(operation, items, tokenIn, tokenOut string, input in) (pages [][]map[string]any) {
	b.Helper()
	input = maps.Clone(input)
	for {
		out := b.call(operation, input)
		page := []map[string]any{}
		list, _ := out[items].([]any)
		for _, o := range list {
			page = append(page, o.(map[string]any))
		}
		pages = append(pages, page)
		token, _ := out[tokenOut].(string)
		if token == "" {
			return pages
		}
		if strings.ContainsAny(token, " \t\n") {
			b.Fatalf("token with white space")
		}
		input[tokenIn] = token
		if len(pages) > 10_000 {
			b.Fatal("the listing does not end")
		}
	}
}

func (b *bench) listUsers(pool string, input in) (pages [][]map[string]any) {
	b.Helper()
	if input == nil {
		input = in{}
	}
	input["UserPoolId"] = pool
	return b.chain("ListUsers", "Users", "PaginationToken", "PaginationToken", input)
}

func usernames(pages [][]map[string]any) []string {
	names := []string{}
	for _, page := range pages {
		for _, u := range page {
			names = append(names, u["Username"].(string))
		}
	}
	return names
}

func sizes(pages [][]map[string]any) []int {
	var n []int
	for _, p := range pages {
		n = append(n, len(p))
	}
	return n
}

// seedUsers makes a pool of n users without the API: user00000, user00001, …
func (b *bench) seedUsers(n int) string {
	b.Helper()
	seed := &Seed{Pool: UserPool{Name: "seeded"}}
	for i := range n {
		seed.Users = append(seed.Users, User{
			Username: fmt.Sprintf("user%05d", i), Enabled: i%10 != 0, UserStatus: Confirmed,
			Attributes: []Attribute{{"sub", fmt.Sprintf("%08x-0000-4000-8000-000000000000", uint32(i)*2654435761)}, {"name", fmt.Sprintf("Name %d", i%7)}},
		})
	}
	id, err := b.Seed(seed)
	if err != nil {
		b.Fatal(err)
	}
	return id
}

func distinct(list []string) int { return len(slices.Compact(slices.Sorted(slices.Values(list)))) }

func TestEveryOperationHasAHandlerAndAQuota(t *testing.T) {
	if got, want := Operations(), slices.Sorted(maps.Keys(api.Operations)); !slices.Equal(got, want) {
		t.Errorf("operations %v, in the model %v", got, want)
	}
	for _, name := range Operations() {
		if defaultQuotas[Category(name)] == 0 {
			t.Errorf("%s has no quota", name)
		}
	}
	b := newBench(t)
	b.refused("ResourceNotFoundException", "", "AdminListDevices", in{"UserPoolId": region + "_x", "Username": "u"})
	pool := b.newPool(nil)
	b.create(pool, "anna")
	if out := b.call("AdminListDevices", in{"UserPoolId": pool, "Username": "anna"}); len(out["Devices"].([]any)) != 0 {
		t.Errorf("devices %v", out)
	}
}

func TestListUsersPages(t *testing.T) {
	b := newBench(t)
	pool := b.seedUsers(150)
	pages := b.listUsers(pool, in{"Limit": 60})
	if got := sizes(pages); !slices.Equal(got, []int{60, 60, 30}) {
		t.Errorf("pages of %v users", got)
	}
	names := usernames(pages)
	if distinct(names) != 150 || slices.IsSorted(names) {
		t.Errorf("%d distinct users, sorted %v; want 150 in no order of their names", distinct(names), slices.IsSorted(names))
	}
	if got := sizes(b.listUsers(pool, nil)); got[0] >= 60 {
		t.Errorf("without Limit a page has %d users, want fewer than 60", got[0])
	}
	if !slices.Equal(names, usernames(b.listUsers(pool, in{"Limit": 7}))) {
		t.Error("the order depends on the page size")
	}
}

func TestListUsersWhileChanging(t *testing.T) {
	b := newBench(t)
	pool := b.seedUsers(120)
	first := b.call("ListUsers", in{"UserPoolId": pool, "Limit": 60})
	for i := range 60 { // deletes half of those listed and some not yet listed, adds others
		b.call("AdminDeleteUser", in{"UserPoolId": pool, "Username": fmt.Sprintf("user%05d", 2*i)})
		b.create(pool, fmt.Sprintf("new%d", i))
	}
	rest := b.listUsers(pool, in{"Limit": 60, "PaginationToken": first["PaginationToken"]})
	seen := usernames(rest)
	for _, u := range first["Users"].([]any) {
		seen = append(seen, u.(map[string]any)["Username"].(string))
	}
	if distinct(seen) != len(seen) {
		t.Error("a chain returned a user twice")
	}
	for i := range 60 {
		if name := fmt.Sprintf("user%05d", 2*i+1); !slices.Contains(seen, name) {
			t.Errorf("%s was there all the time and is missing", name)
		}
	}
}

func TestTokensBelongToTheirParameters(t *testing.T) {
	b := newBench(t)
	pool, other := b.seedUsers(100), b.seedUsers(100)
	token := b.call("ListUsers", in{"UserPoolId": pool, "Limit": 10, "Filter": `sub ^= "0"`})
	if token["PaginationToken"] != nil {
		t.Fatal("six users need no second page of ten")
	}
	first := b.call("ListUsers", in{"UserPoolId": pool, "Limit": 5})["PaginationToken"]
	for _, with := range []in{
		{"UserPoolId": pool, "Limit": 6},
		{"UserPoolId": pool},
		{"UserPoolId": other, "Limit": 5},
		{"UserPoolId": pool, "Limit": 5, "Filter": `sub ^= "a"`},
		{"UserPoolId": pool, "Limit": 5, "AttributesToGet": []string{"name"}},
	} {
		with["PaginationToken"] = first
		b.refused("InvalidParameterException", "pagination token", "ListUsers", with)
	}
	b.refused("InvalidParameterException", "pagination token", "ListUsers", in{"UserPoolId": pool, "PaginationToken": "nonsense"})
	b.refused("InvalidParameterException", "pagination token", "ListGroups", in{"UserPoolId": pool, "NextToken": first})
	b.call("ListUsers", in{"UserPoolId": pool, "Limit": 5, "PaginationToken": first})
	b.call("ListUsers", in{"UserPoolId": pool, "Limit": 5, "PaginationToken": first}) // and again

	b.Settings().Update(func(v *Values) { v.TokenLifetime = time.Hour })
	b.clock.advance(2 * time.Hour)
	b.refused("InvalidParameterException", "expired", "ListUsers", in{"UserPoolId": pool, "Limit": 5, "PaginationToken": first})
	if got := b.Settings().Injected(); got != (Injected{AgedTokens: 1}) {
		t.Errorf("injected %+v", got)
	}
}

func TestFilters(t *testing.T) {
	b := newBench(t)
	insensitive := false
	id, err := b.Seed(&Seed{
		Pool: UserPool{UsernameConfiguration: &UsernameConfiguration{insensitive}, SchemaAttributes: []SchemaAttribute{{Name: "custom:a", AttributeDataType: "String"}}},
		Users: []User{
			{Username: "anna", UserStatus: Confirmed, Enabled: true, Attributes: []Attribute{{"sub", "0a"}, {"email", "Anna@example.com"}, {"family_name", `O"Neil\x`}, {"name", "A"}}},
			{Username: "Bert", UserStatus: Unconfirmed, Attributes: []Attribute{{"sub", "0b"}, {"email", "bert@example.com"}, {"name", "A"}}},
			{Username: "cleo", UserStatus: ResetRequired, Enabled: true, Attributes: []Attribute{{"sub", "1c"}, {"phone_number", "+4415"}, {"name", "AB"}}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		filter string
		want   []string
	}{
		{`sub ^= "0"`, []string{"anna", "Bert"}},
		{`sub = "1c"`, []string{"cleo"}},
		{`sub="1"`, nil},
		{`name = "A"`, []string{"anna", "Bert"}},
		{`name ^= "A"`, []string{"anna", "Bert", "cleo"}},
		{`"name" = "a"`, nil},
		{`family_name = "O\"Neil\\x"`, []string{"anna"}},
		{`username = "BERT"`, []string{"Bert"}},
		{`email ^= "anna@"`, []string{"anna"}},
		{`phone_number ^= "+44"`, []string{"cleo"}},
		{`cognito:user_status = "confirmed"`, []string{"anna"}},
		{`cognito:user_status ^= "UNC"`, []string{"Bert"}},
		{`status = "Enabled"`, []string{"anna", "cleo"}},
		{`status = "enabled"`, nil},
		{`status="Disabled"`, []string{"Bert"}},
		{``, []string{"anna", "Bert", "cleo"}},
	} {
		got := usernames(b.listUsers(id, in{"Filter": c.filter, "Limit": 1}))
		slices.Sort(got)
		slices.Sort(c.want)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.filter, got, c.want)
		}
	}
	for _, bad := range []string{`custom:a = "x"`, `birthdate = "1"`, `name`, `name = x`, `name = "x`, `name != "x"`, `name = "x" y`} {
		b.refused("InvalidParameterException", "", "ListUsers", in{"UserPoolId": id, "Filter": bad})
	}
	// An index that exists follows changes.
	b.call("AdminUpdateUserAttributes", in{"UserPoolId": id, "Username": "cleo", "UserAttributes": attrs("name", "A")})
	b.call("AdminDeleteUser", in{"UserPoolId": id, "Username": "bert"})
	b.create(id, "dora", "name", "A")
	got := usernames(b.listUsers(id, in{"Filter": `name = "A"`}))
	slices.Sort(got)
	if !slices.Equal(got, []string{"anna", "cleo", "dora"}) {
		t.Errorf("after changes the filter finds %v", got)
	}
	users := b.call("ListUsers", in{"UserPoolId": id, "AttributesToGet": []string{"name"}})["Users"].([]any)
	if n := len(users[0].(map[string]any)["Attributes"].([]any)); n != 1 {
		t.Errorf("AttributesToGet returned %d attributes", n)
	}
	b.refused("InvalidParameterException", "do not exist", "ListUsers", in{"UserPoolId": id, "AttributesToGet": []string{"custom:b"}})
}

func TestPrefixesPartitionAPool(t *testing.T) {
	b := newBench(t)
	pool := b.seedUsers(500)
	all := []string{}
	for _, digit := range "0123456789abcdef" {
		all = append(all, usernames(b.listUsers(pool, in{"Limit": 60, "Filter": fmt.Sprintf("sub ^= %q", string(digit))}))...)
	}
	if len(all) != 500 || distinct(all) != 500 {
		t.Errorf("16 prefixes gave %d users, %d distinct", len(all), distinct(all))
	}
}

func TestPagingFaults(t *testing.T) {
	b := newBench(t)
	pool := b.seedUsers(200)
	set := func(f PagingFaults) {
		b.Settings().Update(func(v *Values) { v.Paging["ListUsers"] = f })
	}
	set(PagingFaults{EmptyEvery: 2})
	if got := sizes(b.listUsers(pool, in{"Limit": 60})); !slices.Equal(got, []int{60, 0, 60, 0, 60, 0, 20}) {
		t.Errorf("empty pages: %v", got)
	}
	set(PagingFaults{ShortEvery: 1, TrailingPage: true})
	if got := sizes(b.listUsers(pool, in{"Limit": 60})); !slices.Equal(got, []int{30, 30, 30, 30, 30, 30, 20, 0}) {
		t.Errorf("short pages: %v", got)
	}
	set(PagingFaults{RepeatEvery: 2})
	if names := usernames(b.listUsers(pool, in{"Limit": 60})); len(names) != 201 || distinct(names) != 200 {
		t.Errorf("repeated users: %d with %d distinct", len(names), distinct(names))
	}
	set(PagingFaults{LongTokens: true})
	if token := b.call("ListUsers", in{"UserPoolId": pool, "Limit": 60})["PaginationToken"].(string); len(token) != maxToken {
		t.Errorf("a long token has %d characters", len(token))
	}
	if n := distinct(usernames(b.listUsers(pool, in{"Limit": 60}))); n != 200 {
		t.Errorf("with long tokens %d users", n)
	}
	set(PagingFaults{ExpireAtPage: 3, ExpireTimes: 1})
	input := in{"UserPoolId": pool, "Limit": 60}
	for range 2 {
		input["PaginationToken"] = b.call("ListUsers", input)["PaginationToken"]
	}
	b.refused("InvalidParameterException", "expired", "ListUsers", input)
	if n := len(usernames(b.listUsers(pool, in{"Limit": 60}))); n != 200 {
		t.Errorf("the fault was to happen once; then %d users", n)
	}
	// Seven short pages and one at the end, four tokens of five pages of which one was called twice.
	if got, want := b.Settings().Injected(), (Injected{EmptyPages: 3, ShortPages: 8, RepeatedItems: 1, TrailingPages: 1, LongTokens: 4, ExpiredTokens: 1}); got != want {
		t.Errorf("injected %+v, want %+v", got, want)
	}
}

func TestListUsersLag(t *testing.T) {
	b := newBench(t)
	pool := b.seedUsers(3)
	b.Settings().Update(func(v *Values) { v.ListUsersLag = time.Minute })
	b.create(pool, "new")
	b.call("AdminDeleteUser", in{"UserPoolId": pool, "Username": "user00000"})
	b.call("AdminUpdateUserAttributes", in{"UserPoolId": pool, "Username": "user00001", "UserAttributes": attrs("name", "changed")})
	b.call("AdminDisableUser", in{"UserPoolId": pool, "Username": "user00001"})
	b.refused("UserNotFoundException", "User does not exist.", "AdminGetUser", in{"UserPoolId": pool, "Username": "user00000"})
	if got := value(b.get(pool, "user00001"), "name"); got != "changed" {
		t.Errorf("AdminGetUser shows %q", got)
	}
	names := usernames(b.listUsers(pool, nil))
	slices.Sort(names)
	if !slices.Equal(names, []string{"user00000", "user00001", "user00002"}) {
		t.Errorf("during the lag: %v", names)
	}
	old := b.listUsers(pool, in{"Filter": `username = "user00001"`})[0][0]
	if value(old, "name") != "Name 1" || old["Enabled"] != true {
		t.Errorf("during the lag the user is %v", old)
	}
	if got := b.Settings().Injected().LaggingPages; got != 2 {
		t.Errorf("%d pages showed the past", got)
	}
	b.clock.advance(2 * time.Minute)
	names = usernames(b.listUsers(pool, nil))
	slices.Sort(names)
	if !slices.Equal(names, []string{"new", "user00001", "user00002"}) {
		t.Errorf("after the lag: %v", names)
	}
	now := b.listUsers(pool, in{"Filter": `username = "user00001"`})[0][0]
	if value(now, "name") != "changed" || now["Enabled"] != false {
		t.Errorf("after the lag the user is %v", now)
	}
}

func TestQuotas(t *testing.T) {
	b := newBench(t)
	pool := b.seedUsers(10)
	b.call("CreateGroup", in{"UserPoolId": pool, "GroupName": "g"})
	b.Settings().Update(func(v *Values) {
		clear(v.Quotas)
		v.PoolOperationQuota, v.UserQuota = 5, 10
	})
	through := func(n int, operation string, input in) int {
		passed := 0
		for range n {
			_, err := b.try(operation, input)
			var e *wire.Error
			switch {
			case err == nil:
				passed++
			case !errors.As(err, &e) || e.Code != "TooManyRequestsException":
				t.Fatalf("%s: %v", operation, err)
			}
		}
		return passed
	}
	about := func(what string, got, want int) { // the clock runs while the calls are made
		t.Helper()
		if got < want || got > want+3 {
			t.Errorf("%s: %d calls passed at once, want about %d", what, got, want)
		}
	}
	about("ListUsers", through(60, "ListUsers", in{"UserPoolId": pool}), 30)
	about("ListUsersInGroup shares the category", through(20, "ListUsersInGroup", in{"UserPoolId": pool, "GroupName": "g"}), 0)
	about("operation on one pool", through(30, "ListGroups", in{"UserPoolId": pool}), 5)
	about("the category has more", through(30, "GetUserPoolMfaConfig", in{"UserPoolId": pool}), 5)
	about("one user", through(40, "AdminGetUser", in{"UserPoolId": pool, "Username": "user00001"}), 10)
	about("another user", through(40, "AdminGetUser", in{"UserPoolId": pool, "Username": "user00002"}), 10)
	b.clock.advance(time.Second)
	about("after a second", through(60, "ListUsers", in{"UserPoolId": pool}), 30)

	b.Settings().Update(func(v *Values) { v.Quotas["UserPoolRead"] = 2 })
	about("a quota of a test", through(20, "DescribeUserPool", in{"UserPoolId": pool}), 2)

	n := b.Counts()["ListUsers"]
	if n.Succeeded+n.Throttled != 120 || n.Throttled < 50 {
		t.Errorf("counted %+v of 120 calls", n)
	}
	if seconds := b.Seconds("ListUsers"); len(seconds) < 2 {
		t.Errorf("calls in %d seconds, want at least 2", len(seconds))
	}
}

func TestGroups(t *testing.T) {
	b := newBench(t)
	pool := b.newPool(nil)
	b.refused("ResourceNotFoundException", "Group not found.", "GetGroup", in{"UserPoolId": pool, "GroupName": "a/b,#読者🙂"})
	b.call("CreateGroup", in{"UserPoolId": pool, "GroupName": "a/b,#読者🙂", "Precedence": 0, "Description": "d", "RoleArn": "arn:aws:iam::123456789012:role/r"})
	b.call("CreateGroup", in{"UserPoolId": pool, "GroupName": "plain"})
	b.refused("GroupExistsException", "", "CreateGroup", in{"UserPoolId": pool, "GroupName": "plain"})
	g := b.call("GetGroup", in{"UserPoolId": pool, "GroupName": "a/b,#読者🙂"})["Group"].(map[string]any)
	if g["Precedence"] != 0.0 || g["Description"] != "d" || g["RoleArn"] != "arn:aws:iam::123456789012:role/r" {
		t.Errorf("group %v", g)
	}
	if g := b.call("GetGroup", in{"UserPoolId": pool, "GroupName": "plain"})["Group"].(map[string]any); g["Precedence"] != nil {
		t.Errorf("a group without precedence has %v", g["Precedence"])
	}
	b.call("UpdateGroup", in{"UserPoolId": pool, "GroupName": "plain", "Precedence": 3})

	created := b.create(pool, "anna")
	for range 2 { // idempotent
		b.call("AdminAddUserToGroup", in{"UserPoolId": pool, "Username": "anna", "GroupName": "plain"})
	}
	if got := b.get(pool, "anna"); got["UserLastModifiedDate"] != created["UserLastModifiedDate"] {
		t.Error("a membership changed the user's date")
	}
	b.refused("ResourceNotFoundException", "Group not found.", "AdminAddUserToGroup", in{"UserPoolId": pool, "Username": "anna", "GroupName": "x"})
	b.refused("UserNotFoundException", "User does not exist.", "AdminAddUserToGroup", in{"UserPoolId": pool, "Username": "x", "GroupName": "plain"})
	members := b.chain("ListUsersInGroup", "Users", "NextToken", "NextToken", in{"UserPoolId": pool, "GroupName": "plain"})
	if got := usernames(members); !slices.Equal(got, []string{"anna"}) {
		t.Errorf("members %v", got)
	}
	for i := range 99 {
		b.call("CreateGroup", in{"UserPoolId": pool, "GroupName": fmt.Sprint("g", i)})
		b.call("AdminAddUserToGroup", in{"UserPoolId": pool, "Username": "anna", "GroupName": fmt.Sprint("g", i)})
	}
	b.refused("InvalidParameterException", "100", "AdminAddUserToGroup", in{"UserPoolId": pool, "Username": "anna", "GroupName": "a/b,#読者🙂"})
	count := func(operation string, input in) int {
		n := 0
		for _, page := range b.chain(operation, "Groups", "NextToken", "NextToken", input) {
			n += len(page)
		}
		return n
	}
	if n := count("AdminListGroupsForUser", in{"UserPoolId": pool, "Username": "anna", "Limit": 60}); n != 100 {
		t.Errorf("the user is in %d groups", n)
	}
	if n := count("ListGroups", in{"UserPoolId": pool, "Limit": 60}); n != 101 {
		t.Errorf("the pool has %d groups", n)
	}
	b.call("AdminRemoveUserFromGroup", in{"UserPoolId": pool, "Username": "anna", "GroupName": "g1"})
	b.call("DeleteGroup", in{"UserPoolId": pool, "GroupName": "g2"})
	if n := count("AdminListGroupsForUser", in{"UserPoolId": pool, "Username": "anna"}); n != 98 {
		t.Errorf("then in %d groups", n)
	}
	b.call("AdminDeleteUser", in{"UserPoolId": pool, "Username": "anna"})
	if out := b.call("ListUsersInGroup", in{"UserPoolId": pool, "GroupName": "plain"}); len(out["Users"].([]any)) != 0 {
		t.Error("a deleted user is still a member")
	}
}
